"""The stages of CyCADA, each with its own folder: train, or go on, or leave as it is.

    source         task network on source images                         "source only"
    target         task network on target images and labels              "target only": the bound
    translation    generators between the domains
    pixel          task network on translated source images
    pixel_feature  the same, its features aligned with the target's      CyCADA
    feature        the source network, aligned from raw source images    ADDA

WORKDIR/<stage> holds checkpoints, metrics.jsonl and TensorBoard events; WORKDIR/translation also
the translated source and grids of pictures. A finished stage is not trained again.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxgen.tasks import (
    cycada,
    cycada_alignment,
    cycada_data,
    cycada_evaluation,
    cycada_pictures,
    cycada_translation,
)
from jaxgen.tasks.cycada_schema import STAGES, needs, stages_of
from jaxgen.training import checkpoint, hosts, mesh, stages
from jaxgen.training.errors import ConfigError
from jaxgen.training.state import run_key

# Lowest is best; a stage that never writes it keeps its last checkpoint.
BEST = "validation/criterion"
TASK_STAGES = ("source", "target", "pixel")
_log = logging.getLogger(__name__)


def run_stages(config, workdir: Path, devices: Mesh, domains: cycada_data.Domains) -> None:
    """Runs every stage that config.stages names, in order.

    Raises:
        ConfigError: a stage needs another one that has not been run.
        ValueError: a network cannot take images of this size.
    """
    check_order(config, workdir)
    check_networks(config)
    for stage in stages_of(config):
        _log.info("stage %s", stage)
        if stage == "translation":
            _train_translation(config, workdir, devices, domains)
        elif stage in TASK_STAGES:
            _train_task(config, workdir, devices, domains, stage)
        else:
            _train_alignment(config, workdir, devices, domains, stage)


def check_order(config, workdir: Path) -> None:
    """Raises ConfigError where a stage needs another that is neither asked for nor done."""
    asked = stages_of(config)
    for stage in asked:
        before = needs(config, stage)
        if before and before not in asked and not is_done(workdir, before):
            raise ConfigError(
                f"stage {stage!r} of config.stages needs {before!r}, which has no checkpoint in "
                f"{workdir / before}: add {before!r} to config.stages."
            )


def check_networks(config) -> None:
    """Raises ValueError where a network of the asked stages cannot take images of that size.

    Traces shapes only, so that the fourth network fails before the first one trains.
    """
    task = _abstract_task(config)
    if "translation" in stages_of(config):
        jax.eval_shape(partial(cycada_translation.init_state, config), run_key(0), task)


def is_done(workdir: Path, stage: str) -> bool:
    """Whether a stage has left a checkpoint."""
    return stages.is_done(workdir / stage)


def done_stages(workdir: Path) -> tuple[str, ...]:
    """The stages that have left a checkpoint, in order."""
    return tuple(stage for stage in STAGES if is_done(workdir, stage))


def final_stage(workdir: Path) -> str:
    """The task network to use: the furthest adapted one; "target" only where nothing else is.

    Raises:
        ConfigError: no task network has been trained.
    """
    for stage in ("pixel_feature", "feature", "pixel", "source", "target"):
        if is_done(workdir, stage):
            return stage
    raise ConfigError(f"no task network in {workdir}: train first (--mode=train).")


def restore(config, workdir: Path, devices: Mesh, stage: str) -> tuple[Any, int]:
    """State of the chosen checkpoint of a stage, and its step."""
    key = run_key(0)
    if stage == "translation":
        judge = _abstract_task(config) if needs(config, "translation") else None
        like = jax.eval_shape(partial(cycada_translation.init_state, config), key, judge)
    elif stage in TASK_STAGES:
        like = jax.eval_shape(partial(cycada.init_task, config), key)
    else:
        like = jax.eval_shape(
            partial(cycada_alignment.init_state, config), key, _abstract_task(config)
        )
    return checkpoint.restore_one(
        workdir / stage / "checkpoints",
        mesh.abstract_replicated(devices, like),
        best_metric=BEST,
        which="best",
    )


def task_variables(config, workdir: Path, devices: Mesh, stage: str) -> Any:
    """Averaged variables of the task network that a stage has trained."""
    return restore(config, workdir, devices, stage)[0].network.ema


def _abstract_task(config):
    """Shapes of a task network's variables."""
    return jax.eval_shape(partial(cycada.init_task, config), run_key(0)).network.ema


# -------------------------------------------------------------------------------- stages


def _train_task(config, workdir, devices, domains, stage):
    domain = "target" if stage == "target" else "source"
    if stage == "pixel":
        opened = partial(domains.translated, workdir / "translation" / "translated")
    else:
        opened = partial(domains.open, domain)
    held_out = opened("validation")
    evaluate = cycada_evaluation.compile_evaluate(config, devices)
    name = cycada_evaluation.headline(config)

    def validate(state):
        numbers = cycada_evaluation.task_numbers(
            config, evaluate(state.network.ema, held_out).confusion
        )
        return numbers | {"criterion": 100 - numbers[name]}

    _run(
        config,
        workdir / stage,
        devices,
        settings=config.task.train,
        init=partial(cycada.init_task, config),
        step=partial(cycada.task_step, config),
        batches=cycada_data.training_batches(config, config.task.train, source=opened("train")),
        validate=validate,
        number=STAGES.index(stage),
    )


def _train_translation(config, workdir, devices, domains):
    source = domains.open("source", "train")
    target = domains.open("target", "train")
    cycada_data.check_domains(source, target)
    folder = workdir / "translation"
    judge = None
    if needs(config, "translation"):
        # A compiled function closes over it: global arrays of several processes it could not.
        judge = hosts.fetch(task_variables(config, workdir, devices, "source"))
    translate = cycada_evaluation.compile_translate(config, devices)
    show = cycada_pictures.example_images(config, source, target)

    def validate(state):
        params = state.generators.ema["params"]
        cycada_pictures.save_grid(
            folder / "pictures", int(state.step), partial(_both_ways, translate, params), show
        )
        return {}  # no number chooses the checkpoint: the last one it is

    state = _run(
        config,
        folder,
        devices,
        settings=config.translation.train,
        init=lambda key: cycada_translation.init_state(config, key, judge),
        step=partial(cycada_translation.train_step, config),
        batches=cycada_data.training_batches(
            config, config.translation.train, source=source, target=target
        ),
        validate=validate,
        number=STAGES.index("translation"),
    )
    cycada_data.write_translated(
        domains,
        folder / "translated",
        partial(translate, state.generators.ema["params"]["target"]),
        step=int(state.step),
    )


def _both_ways(translate, params, name, images):
    return translate(params[name], images)


def _train_alignment(config, workdir, devices, domains, stage):
    start = needs(config, stage)
    if start == "pixel":
        source = domains.translated(workdir / "translation" / "translated", "train")
    else:
        source = domains.open("source", "train")
    target = domains.open("target", "train")
    cycada_data.check_domains(source, target)
    held_out = domains.open("target", "validation")
    evaluate = cycada_evaluation.compile_evaluate(config, devices)
    name = cycada_evaluation.headline(config)
    # A compiled function closes over them: global arrays of several processes it could not.
    variables = hosts.fetch(task_variables(config, workdir, devices, start))

    def validate(state):
        found = evaluate(state.network.ema, held_out)
        numbers = cycada_evaluation.label_free_numbers(found.probabilities)
        criterion = {
            "latest": {},
            "entropy": {"criterion": numbers["entropy"]},
            "information_maximisation": {"criterion": -numbers["information_maximisation"]},
            "soft_neighbourhood_density": {"criterion": -numbers["soft_neighbourhood_density"]},
        }[config.alignment.select]
        if not found.confusion.sum():
            return numbers | criterion  # a target without any label
        # What the labels would have said is shown beside the criteria; it chooses nothing.
        oracle = cycada_evaluation.task_numbers(config, found.confusion)[name]
        return numbers | criterion | {f"oracle_{name}": oracle}

    _run(
        config,
        workdir / stage,
        devices,
        settings=config.alignment.train,
        init=lambda key: cycada_alignment.init_state(config, key, variables),
        step=partial(cycada_alignment.train_step, config),
        batches=cycada_data.training_batches(
            config, config.alignment.train, source=source, target=target
        ),
        validate=validate,
        number=STAGES.index(stage),
    )


def _run(config, folder, devices, *, init, number, **options):
    """One stage through the loop; returns its last state."""
    key = jax.random.fold_in(run_key(config.seed), number)
    above = options["settings"].shard_parameters_above
    state = mesh.compile_init(devices, init, shard_above=above)(key)
    return stages.run(folder, devices, best_metric=BEST, state=state, **options)
