"""The stages of DR-GAN, each with its own folder: train, or go on, or leave as it is.

    recogniser    the encoder with identity labels alone: the baseline, and the warm start
    pose          a judge of poses, for the report; it never meets the generator
    decoder       draws from the recogniser's features: where the game begins
    gan           encoder, decoder and discriminator
    confidence    which pictures to trust, with all else as it is

WORKDIR/<stage> holds checkpoints, metrics.jsonl and TensorBoard events. A finished stage is not
trained again.
"""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data import text_files
from jaxgen.tasks import (
    dr_gan,
    dr_gan_classifiers,
    dr_gan_confidence,
    dr_gan_data,
    dr_gan_evaluation,
    dr_gan_warm_start,
)
from jaxgen.tasks.dr_gan_schema import SECTIONS, STAGES, stages_of
from jaxgen.training import checkpoint, hosts, mesh, stages
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically
from jaxgen.training.state import run_key

# Lowest is best; a stage that never writes it keeps its last checkpoint.
BEST = "validation/criterion"
PEOPLE_FILE = "people.json"
_log = logging.getLogger(__name__)


def run_stages(config, workdir: Path, devices: Mesh, sets: dr_gan_data.Sets) -> None:
    """Runs every stage that config.stages names, in order.

    Raises:
        ConfigError: a warm start needs a recogniser that has not been trained, or poses are needed
            and none is known.
    """
    check_order(config, workdir)
    faces = sets.open("train")
    dr_gan_data.check_poses(config, faces)
    # What later modes need to know of the training set without opening it.
    people = len(faces.people)
    if hosts.is_first():
        write_atomically(workdir / PEOPLE_FILE, json.dumps({"people": people}).encode())
    for stage in stages_of(config):
        _log.info("stage %s", stage)
        _train(config, workdir, devices, sets, stage)


def check_order(config, workdir: Path) -> None:
    """Raises ConfigError where a stage starts from one that nobody trains."""
    asked, needs = stages_of(config), []
    if "decoder" in asked:
        needs.append(("recogniser", "the stage 'decoder'", "leave 'decoder' out"))
    if "gan" in asked and config.gan.warm_start != "none":
        wish = f"config.gan.warm_start={config.gan.warm_start!r}"
        needs.append(("recogniser", wish, 'set config.gan.warm_start="none"'))
    if "gan" in asked and config.gan.warm_decoder:
        needs.append(("decoder", "config.gan.warm_decoder", "set config.gan.warm_decoder=False"))
    if "confidence" in asked:
        needs.append(("gan", "the stage 'confidence'", "leave 'confidence' out"))
    for needed, wish, otherwise in needs:
        if needed not in asked and not is_done(config, workdir, needed):
            lacks = stages.progress(workdir / needed, config[SECTIONS[needed]].train.steps)
            raise ConfigError(
                f"{wish} needs the stage {needed!r}, which {lacks}: add {needed!r} to "
                f"config.stages, or {otherwise}."
            )


def is_done(config, workdir: Path, stage: str) -> bool:
    """Whether a stage has trained for all of its steps."""
    return stages.is_done(workdir / stage, config[SECTIONS[stage]].train.steps)


def done_stages(config, workdir: Path) -> tuple[str, ...]:
    """The finished stages, in order."""
    return tuple(stage for stage in STAGES if is_done(config, workdir, stage))


def last_network(config, workdir: Path) -> str:
    """The stage whose encoder to use: the last finished one that has an encoder.

    Raises:
        ConfigError: none is finished.
    """
    for stage in ("confidence", "gan", "recogniser"):
        if is_done(config, workdir, stage):
            return stage
    lacks = stages.progress(workdir / "recogniser", config.recogniser.train.steps)
    raise ConfigError(
        f"no trained network in {workdir}: the stage 'recogniser' {lacks}. Train first "
        "(--mode=train)."
    )


def people_count(workdir: Path) -> int:
    """People that the networks of a run were trained on.

    Raises:
        ConfigError: the folder holds no run.
    """
    try:
        people = text_files.read_json(workdir / PEOPLE_FILE)["people"]
        if not (type(people) is int and 0 < people < 10**8):
            raise ValueError(f"it holds {text_files.quoted(str(people))} people")
        return people
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{workdir / PEOPLE_FILE} cannot be read ({error}): train first (--mode=train)."
        ) from error


def restore(config, workdir: Path, devices: Mesh, stage: str, people: int) -> tuple[Any, int]:
    """The averaged variables of a stage's network, and their step.

    Of "gan" and "confidence" that is the generator.

    Args:
        config: of the run.
        workdir: of the run.
        devices: the mesh.
        stage: of `STAGES`.
        people: number of them in the training set.
    """
    like = jax.eval_shape(lambda key: _init(config, stage, key, people), run_key(0))
    state, step = checkpoint.restore_one(
        workdir / stage / "checkpoints",
        mesh.abstract_replicated(devices, like),
        best_metric=BEST,
        which="best",
    )
    return _average(state), step


def _average(state):
    if isinstance(state, dr_gan_confidence.State):
        return dr_gan_confidence.with_channel(state.generator, state.network.ema["params"])
    player = state.generator if isinstance(state, dr_gan.State) else state.network
    return player.ema


def _init(config, stage, key, people):
    if stage == "gan":
        return dr_gan.init_state(config, key, people)
    if stage == "decoder":
        recogniser = dr_gan_classifiers.init_state(config, "recogniser", key, people).network.ema
        return dr_gan_warm_start.init_decoder(config, key, recogniser)
    if stage == "confidence":
        generator = dr_gan.init_state(config, key, people).generator.ema
        return dr_gan_confidence.init_state(config, key, generator)
    classes = len(config.pose.classes) if stage == "pose" else people
    return dr_gan_classifiers.init_state(config, SECTIONS[stage], key, classes)


def _train(config, workdir, devices, sets, stage):
    faces, held_out = sets.open("train"), sets.open("validation")
    section, people = SECTIONS[stage], len(faces.people)
    began = {
        name: restore(config, workdir, devices, name, people)
        for name in _starts_from(config, stage)
    }
    known = {name: variables for name, (variables, _) in began.items()}
    step = {
        "gan": partial(dr_gan.train_step, config),
        "decoder": partial(dr_gan_warm_start.decoder_step, config),
        "confidence": partial(dr_gan_confidence.train_step, config),
    }.get(stage, partial(dr_gan_classifiers.train_step, config, section))
    if stage == "decoder":
        validate = _drawing(config, devices, held_out, known["recogniser"])
    elif stage == "confidence":
        validate = _trust(config, devices, held_out)
    else:
        validate = _validation(config, devices, stage, held_out)
    stages.run(
        workdir / stage,
        devices,
        best_metric=BEST,
        settings=config[section].train,
        state=_first_state(config, devices, stage, people, known),
        step=step,
        batches=dr_gan_data.training_batches(config, section, faces),
        validate=lambda state: validate(_average(state)),
        began_from={name: step for name, (_, step) in began.items()},
    )


def _first_state(config, devices, stage, people, known):
    """The state that a stage starts from; `known` holds the networks of stages before it."""
    key = jax.random.fold_in(run_key(config.seed), STAGES.index(stage))
    above = config[SECTIONS[stage]].train.shard_parameters_above
    compile_init = partial(mesh.compile_init, devices, shard_above=above)
    if stage == "confidence":
        return compile_init(partial(dr_gan_confidence.init_state, config, key))(known["gan"])
    state = compile_init(lambda key: _init(config, stage, key, people))(key)
    if stage == "decoder":
        return state.replace(**known)
    if stage == "gan" and known:
        start = compile_init(lambda both: dr_gan_warm_start.start_from(config, both[0], **both[1]))
        return start((state, known))
    return state


def _starts_from(config, stage) -> tuple[str, ...]:
    """The trained stages that a stage begins with."""
    if stage == "decoder":
        return ("recogniser",)
    if stage == "confidence":
        return ("gan",)
    warm = stage == "gan" and config.gan.warm_start != "none"
    return ("recogniser",) * warm + ("decoder",) * (stage == "gan" and config.gan.warm_decoder)


def _drawing(config, devices, held_out, recogniser):
    """Decoder's variables -> how far drawings of held-out people are from other pictures of them.

    "pixel" is the mean absolute error, in the units of images in [-1, 1].
    """
    images = dr_gan_data.middle(config, held_out)
    encode = dr_gan_evaluation.compile_encode(config, devices, "recogniser")
    rotate = dr_gan_evaluation.compile_rotate(config, devices)
    feature = encode(recogniser, images).feature
    # Each picture's next one of the same person; yaws must be known.
    after = np.arange(len(images))
    for rows in held_out.rows_of_people():
        after[rows] = np.roll(rows, -1)
    used = np.isfinite(held_out.yaw[after])

    def error(variables):
        if not used.any():
            return {}
        generator = {kind: {"decoder": value} for kind, value in variables.items()}
        drawn = rotate(generator, feature[used], held_out.yaw[after][used])
        pixel = float(np.abs(drawn.astype(np.float32) - images[after][used]).mean() / 127.5)
        return {"pixel": pixel, "criterion": pixel}

    return error


def _trust(config, devices, held_out):
    """Generator's variables -> mean confidence of held-out pictures, clean and made worse."""
    encode = dr_gan_evaluation.compile_encode(config, devices, "confidence")
    images, degraded = dr_gan_data.degraded(config, held_out)

    def confidences(variables):  # no number chooses: the last checkpoint is kept
        return dr_gan_evaluation.degraded_confidences(encode(variables, images), degraded)

    return confidences


def _validation(config, devices, stage, held_out):
    """Variables -> figures on held-out people; "criterion" chooses the checkpoint."""
    images = dr_gan_data.middle(config, held_out)
    if stage == "pose":
        judge = dr_gan_evaluation.compile_judge(config, devices)
        known = held_out.pose >= 0

        def accuracy(variables):
            if not known.any():
                return {}  # no number chooses: the last checkpoint is kept
            right = judge(variables, images).argmax(-1) == held_out.pose
            value = float(100 * right[known].mean())
            return {"accuracy": value, "criterion": 100 - value}

        return accuracy
    encode = dr_gan_evaluation.compile_encode(config, devices, stage)

    def verification(variables):
        numbers = dr_gan_evaluation.verification_numbers(encode(variables, images), held_out)
        if stage == "gan" and config.gan.select == "latest":
            return numbers  # no number chooses: the encoder may be at its best before the decoder
        return numbers | {"criterion": numbers["eer"]}

    return verification
