"""The stages of the tiny-faces system, each with its own folder: train, go on, or leave as it is.

    detector       proposals: learns to box faces in crops of whole scenes

WORKDIR/<stage> holds checkpoints, metrics.jsonl and TensorBoard events. A finished stage is not
trained again.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.tasks import (
    detection_inference,
    tiny_faces_data,
    tiny_faces_detector,
    tiny_faces_evaluation,
)
from jaxgen.tasks.tiny_faces_schema import STAGES, stages_of
from jaxgen.training import checkpoint, loop, mesh
from jaxgen.training.state import run_key

# Lowest is best.
BEST = "validation/criterion"
_log = logging.getLogger(__name__)


def run_stages(config, workdir: Path, devices: Mesh) -> None:
    """Runs every stage that config.stages names, in order.

    Raises:
        ConfigError: a stage needs another one that has not been run.
    """
    for stage in stages_of(config):
        _log.info("stage %s", stage)
        _train_detector(config, workdir, devices)


def is_done(workdir: Path, stage: str) -> bool:
    """Whether a stage has left a checkpoint."""
    folder = workdir / stage / "checkpoints"
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def restore_detector(config, workdir: Path, devices: Mesh) -> tuple[Any, int]:
    """Averaged variables of the chosen checkpoint of the detector, and its step."""
    like = jax.eval_shape(partial(tiny_faces_detector.init_state, config), run_key(0))
    state, step = checkpoint.restore_one(
        workdir / "detector" / "checkpoints",
        mesh.abstract_replicated(devices, like),
        best_metric=BEST,
        which="best",
    )
    return state.network.ema, step


# -------------------------------------------------------------------------------- stages


def _train_detector(config, workdir, devices):
    train = tiny_faces_data.open_split(config, "train")
    held_out = tiny_faces_data.open_split(config, "validation")
    truth = tiny_faces_evaluation.ground_truth(held_out)
    detect = detection_inference.compile_detector(config)

    def validate(state):
        variables = local_copy(state.network.ema)
        found = tiny_faces_evaluation.detect_scenes(config, partial(detect, variables), held_out)
        predictions = tiny_faces_evaluation.as_predictions(found)
        numbers = tiny_faces_evaluation.detection_numbers(predictions, truth, {})
        numbers = {name: value for name, value in numbers.items() if value == value}
        return numbers | {"criterion": 100 - numbers.get("ap_all_images", 0.0)}

    def init(key):
        return tiny_faces_detector.init_state(config, key)

    run(
        workdir / "detector",
        devices,
        settings=config.detector.train,
        state=_initial_detector(config, mesh.compile_init(devices, init), config.seed),
        step=partial(tiny_faces_detector.train_step, config),
        batches=tiny_faces_data.training_batches(config, train),
        validate=validate,
    )


def _initial_detector(config, init, seed):
    """A detector at step 0, its trunk from ImageNet if the config names weights."""
    from jaxgen.models import pretrained

    state = init(stage_key(seed, "detector"))
    path = config.detector.model.pretrained
    if not path:
        return state
    load = {"resnet50": pretrained.load_resnet50, "vgg16": pretrained.load_vgg16_trunk}
    variables = load[config.detector.model.backbone](state.network.ema, path, inside="backbone")
    return tiny_faces_detector.with_pretrained(state, variables)


def run(folder: Path, devices: Mesh, *, settings, state, step, batches, validate) -> Any:
    """One stage through the loop; returns its last state."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", best_metric=BEST)
    state = loop.train(
        jax.tree.map(jnp.copy, state),  # no buffer twice: the step donates all of them
        step=step,
        batches=batches,
        validate=validate,
        mesh=devices,
        checkpoints=checkpoints,
        workdir=folder,
        settings=settings,
    )
    checkpoints.close()
    return state


def stage_key(seed: int, stage: str) -> jax.Array:
    """The key that all randomness of a stage follows from."""
    return jax.random.fold_in(run_key(seed), STAGES.index(stage))


def local_copy(variables: Any) -> Any:
    """Variables that every device holds, as NumPy arrays of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0).__array__(), variables)
