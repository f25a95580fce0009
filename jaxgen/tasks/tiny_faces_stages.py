"""The stages of the tiny-faces system, each with its own folder: train, go on, or leave as it is.

    detector       proposals: learns to box faces in crops of whole scenes
    crops          faces and mistakes of the detector, cut out of the training scenes
    generator      its warm start, on pixels alone
    discriminator  its warm start as a classifier
    gan            both together

WORKDIR/<stage> holds checkpoints, metrics.jsonl and TensorBoard events. A finished stage is not
trained again. The last four are those of tiny_faces_gan_stages.py.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.tasks import (
    detection_inference,
    tiny_faces_data,
    tiny_faces_detector,
    tiny_faces_evaluation,
    tiny_faces_fusion,
    tiny_faces_gan_stages,
    tiny_faces_methods,
)
from jaxgen.tasks.tiny_faces_gan_stages import BEST
from jaxgen.tasks.tiny_faces_schema import STAGES, needs, stages_of
from jaxgen.training import checkpoint, hosts, mesh, stages
from jaxgen.training.errors import ConfigError
from jaxgen.training.state import run_key

_log = logging.getLogger(__name__)

Detect = Callable[[np.ndarray], tiny_faces_detector.Detections]


def run_stages(config, workdir: Path, devices: Mesh) -> None:
    """Runs every stage that config.stages names, in order; then chooses how to join two scores.

    Raises:
        ConfigError: a stage needs another one that has not been run.
    """
    check_order(config, workdir)
    train = {
        "detector": _train_detector,
        "crops": _cut_crops,
        "generator": tiny_faces_gan_stages.train_generator,
        "discriminator": tiny_faces_gan_stages.train_discriminator,
        "gan": tiny_faces_gan_stages.train_gan,
    }
    for stage in stages_of(config):
        _log.info("stage %s", stage)
        train[stage](config, workdir, devices)
    if config.gan.fusion.rule == "chosen":
        _choose_fusions(config, workdir, devices)


def check_order(config, workdir: Path) -> None:
    """Raises ConfigError where a stage needs another that is neither asked for nor done."""
    asked = stages_of(config)
    for stage in asked:
        for before in needs(config, stage):
            if before not in asked and not is_done(config, workdir, before):
                lacks = f"is not in {workdir / before}"
                if before != "crops":
                    lacks = stages.progress(workdir / before, config[before].train.steps)
                raise ConfigError(
                    f"stage {stage!r} of config.stages needs {before!r}, which {lacks}: add "
                    f"{before!r} to config.stages."
                )


def is_done(config, workdir: Path, stage: str) -> bool:
    """Whether a stage is finished."""
    if stage == "detector":
        return stages.is_done(workdir / "detector", config.detector.train.steps)
    return tiny_faces_gan_stages.is_done(config, workdir, stage)


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


def trained_detector(config, workdir: Path, devices: Mesh) -> tuple[Detect, int]:
    """The detector of a run, compiled: uint8 tiles -> Detections, and its step.

    Raises:
        CheckpointMismatch: it has not been trained, or is another network.
    """
    variables, step = restore_detector(config, workdir, devices)
    return partial(detection_inference.compile_detector(config), hosts.fetch(variables)), step


# -------------------------------------------------------------------------------- stages


def _train_detector(config, workdir, devices):
    train = tiny_faces_data.open_split(config, "train")
    held_out = tiny_faces_data.open_split(config, "validation")
    truth = tiny_faces_evaluation.ground_truth(held_out)
    detect = detection_inference.compile_detector(config)

    def validate(state):
        variables = hosts.fetch(state.network.ema)
        found = tiny_faces_evaluation.detect_scenes(config, partial(detect, variables), held_out)
        predictions = tiny_faces_evaluation.as_predictions(found)
        numbers = tiny_faces_evaluation.detection_numbers(predictions, truth, {})
        numbers = {name: value for name, value in numbers.items() if np.isfinite(value)}
        return numbers | {"criterion": 100 - numbers.get("ap_all_images", 0.0)}

    stages.run(
        workdir / "detector",
        devices,
        best_metric=BEST,
        settings=config.detector.train,
        state=_initial_detector(config, devices),
        step=partial(tiny_faces_detector.train_step, config),
        batches=tiny_faces_data.training_batches(config, train),
        validate=validate,
    )


def _initial_detector(config, devices):
    """A detector at step 0, its trunk from ImageNet if the config names weights."""
    from jaxgen.models import pretrained

    above = config.detector.train.shard_parameters_above
    init = mesh.compile_init(
        devices, partial(tiny_faces_detector.init_state, config), shard_above=above
    )
    state = init(jax.random.fold_in(run_key(config.seed), STAGES.index("detector")))
    path = config.detector.model.pretrained
    if not path:
        return state
    load = {"resnet50": pretrained.load_resnet50, "vgg16": pretrained.load_vgg16_trunk}
    variables = load[config.detector.model.backbone](state.network.ema, path, inside="backbone")
    start = mesh.compile_init(
        devices,
        lambda pair: tiny_faces_detector.with_pretrained(*pair),
        shard_above=above,
    )
    return start((state, variables))


def _cut_crops(config, workdir, devices):
    detect, step = trained_detector(config, workdir, devices)

    def proposals(image):
        ((_, found),) = detection_inference.detect_pictures(config, detect, [(None, image)])
        return found.boxes, found.scores

    scenes = {name: tiny_faces_data.open_split(config, name) for name in ("train", "validation")}
    tiny_faces_gan_stages.cut_crops(
        config,
        workdir,
        scenes,
        proposals,
        _detector_facts(config, workdir, step),
        max_corrupt=config.data.max_corrupt,
    )


def _detector_facts(config, workdir, step):
    """What the proposals hang on."""
    return {
        "detector_step": step,
        "detector_fingerprint": stages.fingerprint(workdir / "detector", step),
        "inference": config.detector.inference.to_dict(),
    }


def _choose_fusions(config, workdir, devices):
    """Chooses anew for the second looks whose networks, or whose proposals, have changed."""
    methods = tiny_faces_methods.trained(config, workdir, devices)
    if not methods:
        return
    detect, step = trained_detector(config, workdir, devices)
    held_out = tiny_faces_data.open_split(config, "validation")
    facts = {
        **_detector_facts(config, workdir, step),
        "crops": {name: config.crops[name] for name in ("high", "margin")},
        "looks": {name: config.gan.fusion[name] for name in ("most", "move_boxes")},
        "scenes": len(held_out),
        "figures": list(tiny_faces_fusion.Figures._fields),
    }

    def is_chosen(method):
        content = tiny_faces_fusion.read(workdir / method.stage)
        return content is not None and content["made_with"] == {**facts, "step": method.step}

    missing = {name: m for name, m in methods.items() if not hosts.agree(is_chosen(m))}
    if missing:
        found = tiny_faces_evaluation.detect_scenes(config, detect, held_out)
        truth = tiny_faces_evaluation.ground_truth(held_out)
        tiny_faces_methods.choose_fusions(config, workdir, missing, held_out, truth, found, facts)
