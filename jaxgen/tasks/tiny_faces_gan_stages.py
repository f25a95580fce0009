"""The GAN's stages of the tiny-faces system, each with its own folder.

    crops           faces and mistakes of the detector, cut out of the training images once
    generator       its warm start, on pixels alone
    discriminator   its warm start as a classifier: with bicubic crops, "bicubic + classifier"
    gan             both together

WORKDIR/crops/{train,validation} hold arrays; the other folders hold checkpoints, metrics.jsonl and
TensorBoard events, and generator and gan strips of pictures. A finished stage is left alone. The
held-out crops come from held-out images.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data import face_pair_files, face_pairs
from jaxgen.tasks import tiny_faces, tiny_faces_gan_evaluation, tiny_faces_warm_start
from jaxgen.tasks import tiny_faces_players as players
from jaxgen.tasks.tiny_faces_gan_schema import starts_anew
from jaxgen.tasks.tiny_faces_players import Variables
from jaxgen.training import checkpoint, hosts, mesh, stages
from jaxgen.training.errors import ConfigError
from jaxgen.training.state import run_key

GAN_STAGES = ("crops", "generator", "discriminator", "gan")
BEST = "validation/criterion"  # lowest is best
_KEYS = {name: 100 + number for number, name in enumerate(GAN_STAGES)}


def is_done(config, workdir: Path, stage: str) -> bool:
    """Whether a stage is finished."""
    if stage == "crops":
        folders = (workdir / "crops" / split for split in ("train", "validation"))
        return all((folder / "complete.json").exists() for folder in folders)
    return stages.is_done(workdir / stage, config[stage].train.steps)


def cut_crops(
    config,
    workdir: Path,
    scenes: Mapping[str, Sequence],
    proposals: face_pairs.Proposals,
    made_with: Mapping[str, Any],
    *,
    max_corrupt: int = 0,
) -> None:
    """Stage crops.

    Args:
        config: of the run.
        workdir: of the run.
        scenes: "train" and "validation" -> scenes by position, see jaxgen.data.face_scenes.
        proposals: image uint8 [H, W, 3] -> (boxes [P, 4], scores [P]).
        made_with: JSON-able facts about the proposals, such as the detector's step.
        max_corrupt: training scenes that may be unreadable.

    Raises:
        ConfigError: there are no faces, or nothing but faces; or networks have learned from
            crops that were cut in another way.
    """
    learned = [stage for stage in GAN_STAGES[1:] if stages.trained_steps(workdir / stage)]
    for split in ("train", "validation"):
        folder = workdir / "crops" / split
        facts = face_pair_files.facts_of(scenes[split], config.crops, config.seed, made_with)
        changed = face_pair_files.changes(folder, facts)
        if changed and learned:
            raise ConfigError(
                f"{folder} was cut in another way ({', '.join(changed[:3])}), and "
                f"{', '.join(learned)} learned from it: delete these folders in {workdir} to cut "
                "and train again, or use another --workdir."
            )
        face_pair_files.write_split(
            folder,
            scenes[split],
            proposals,
            config.crops,
            seed=config.seed,
            facts=facts,
            max_corrupt=max_corrupt if split == "train" else 0,
        )


def train_generator(config, workdir: Path, devices: Mesh) -> None:
    """Stage generator: the pixel loss on crops that have a high-resolution partner.

    Raises:
        ConfigError: no crop has one.
    """
    held_out = face_pair_files.open_split(workdir / "crops" / "validation")
    if not np.asarray(held_out["paired"]).any():
        raise ConfigError(
            f"none of the {len(held_out['paired'])} held-out crops has enough pixels to compare "
            "with: lower config.crops.high or config.crops.least_real, or hold out more pictures "
            "(config.data.validation_fraction)."
        )
    validate = tiny_faces_gan_evaluation.compile_validation(config, devices, held_out)
    init = mesh.compile_init(
        devices,
        partial(tiny_faces_warm_start.init_generator, config),
        shard_above=config.generator.train.shard_parameters_above,
    )

    def check(state):
        numbers = validate(players.averaged(state), workdir / "generator", int(state.step))
        return numbers | {"criterion": -numbers["psnr"]}

    stages.run(
        workdir / "generator",
        devices,
        best_metric=BEST,
        settings=config.generator.train,
        state=init(_key(config, "generator")),
        step=partial(tiny_faces_warm_start.generator_step, config),
        batches=_batches(config, workdir, devices, "generator", unpaired=0.0),
        validate=check,
        began_from=_crops_marker(workdir),
    )


def train_discriminator(config, workdir: Path, devices: Mesh) -> None:
    """Stage discriminator: face or background, on real and on bicubically enlarged crops."""
    held_out = face_pair_files.open_split(workdir / "crops" / "validation")
    validate = tiny_faces_gan_evaluation.compile_validation(config, devices, held_out)
    trunk = _pretrained_trunk(config)
    init = mesh.compile_init(
        devices,
        lambda key: tiny_faces_warm_start.init_discriminator(config, key, trunk),
        shard_above=config.discriminator.train.shard_parameters_above,
    )

    def check(state):
        numbers = validate(players.averaged(state))
        return numbers | {"criterion": numbers["class_loss"]}

    stages.run(
        workdir / "discriminator",
        devices,
        best_metric=BEST,
        settings=config.discriminator.train,
        state=init(_key(config, "discriminator")),
        step=partial(tiny_faces_warm_start.discriminator_step, config),
        batches=_batches(config, workdir, devices, "discriminator", unpaired=config.crops.unpaired),
        validate=check,
        began_from=_crops_marker(workdir),
    )


def train_gan(config, workdir: Path, devices: Mesh) -> None:
    """Stage gan: both networks together, from their warm starts, or with a new discriminator.

    The checkpoint to use is the one with the lowest class loss on held-out crops, as in the stage
    discriminator: whether a face is told from background is what the networks are there for.

    Raises:
        ConfigError: a warm start is missing, or the stage began from other ones or other crops.
    """
    state, step = restore(config, workdir, devices, "generator")
    # A compiled function closes over them: global arrays of several processes it could not.
    start = Variables(hosts.fetch(state.generator.ema), None)
    began_from = {"generator": step, "discriminator": 0}
    trunk = None
    if starts_anew(config):
        trunk = _pretrained_trunk(config)
    else:
        state, step = restore(config, workdir, devices, "discriminator")
        start = start._replace(discriminator=hosts.fetch(state.discriminator.ema))
        began_from["discriminator"] = step
    held_out = face_pair_files.open_split(workdir / "crops" / "validation")
    validate = tiny_faces_gan_evaluation.compile_validation(config, devices, held_out)
    init = mesh.compile_init(
        devices,
        lambda key: players.start_from(tiny_faces.init_state(config, key, trunk=trunk), start),
        shard_above=config.gan.train.shard_parameters_above,
    )

    def check(state):
        numbers = validate(players.averaged(state), workdir / "gan", int(state.step))
        return numbers | {"criterion": numbers["class_loss"]}

    stages.run(
        workdir / "gan",
        devices,
        best_metric=BEST,
        settings=config.gan.train,
        state=init(_key(config, "gan")),
        step=partial(tiny_faces.train_step, config),
        batches=_batches(config, workdir, devices, "gan", unpaired=config.crops.unpaired),
        validate=check,
        began_from=_crops_marker(workdir) | began_from,
    )


def restore(config, workdir: Path, devices: Mesh, stage: str) -> tuple[tiny_faces.State, int]:
    """State of the chosen checkpoint of a stage that trains, and its step.

    Raises:
        ConfigError: the stage is not finished.
        CheckpointMismatch: it holds another network.
    """
    if not is_done(config, workdir, stage):
        lacks = stages.progress(workdir / stage, config[stage].train.steps)
        raise ConfigError(f"stage {stage!r} {lacks}: add it to config.stages.")
    init = {
        "generator": tiny_faces_warm_start.init_generator,
        "discriminator": tiny_faces_warm_start.init_discriminator,
        "gan": tiny_faces.init_state,
    }[stage]
    like = jax.eval_shape(partial(init, config), run_key(0))
    return checkpoint.restore_one(
        workdir / stage / "checkpoints",
        mesh.abstract_replicated(devices, like),
        best_metric=BEST,
        which="best",
    )


def rescoring_variables(config, workdir: Path, devices: Mesh) -> tuple[Variables, str, int] | None:
    """The networks that score proposals anew, the stage they come from, and its step.

    Those of the stage "gan"; before it has run, the classifier of "discriminator" with bicubic
    crops; None before that.
    """
    for stage in ("gan", "discriminator"):
        if is_done(config, workdir, stage):
            state, step = restore(config, workdir, devices, stage)
            return players.averaged(state), stage, step
    return None


def _pretrained_trunk(config):
    """Params of VGG19's trunk with the weights that the config names; None where it names none."""
    from jaxgen.models import pretrained

    path = config.discriminator.pretrained
    if not path:
        return None
    like = jax.eval_shape(partial(tiny_faces_warm_start.init_discriminator, config), run_key(0))
    blank = {"params": {"trunk": like.discriminator.params["trunk"]}}
    return pretrained.load_vgg19_trunk(blank, path, inside="trunk")["params"]["trunk"]


def _batches(config, workdir, devices, stage, *, unpaired):
    train = config[stage].train
    multiple = 2 * devices.size * train.micro_batches
    if train.batch_size % multiple:
        raise ConfigError(
            f"config.{stage}.train.batch_size={train.batch_size}: half of it are faces, which "
            f"{devices.size} devices share in {train.micro_batches} micro-batches. Use a multiple "
            f"of {multiple}."
        )
    return face_pair_files.training_batches(
        face_pair_files.open_split(workdir / "crops" / "train"),
        batch_size=train.batch_size // jax.process_count(),
        unpaired=unpaired,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _crops_marker(workdir: Path) -> dict[str, str]:
    """What changes whenever crops are cut in another way: a digest of what they were made with."""
    files = (workdir / "crops" / split / "complete.json" for split in ("train", "validation"))
    return {"crops": str(zlib.crc32(b"".join(file.read_bytes() for file in files)))}


def _key(config, stage):
    return jax.random.fold_in(run_key(config.seed), _KEYS[stage])
