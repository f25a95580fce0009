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
from collections.abc import Mapping
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
ALIGNMENT_STAGES = ("pixel_feature", "feature")
_log = logging.getLogger(__name__)


def run_stages(config, workdir: Path, devices: Mesh, domains: cycada_data.Domains) -> None:
    """Runs every stage that config.stages names, in order.

    Raises:
        ConfigError: a stage needs another one that is not finished.
        ValueError: a network cannot take images of this size, or a set cannot be used.
    """
    check_order(config, workdir)
    check_networks(config)
    check_sets(config, domains)
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
        if before and before not in asked and not is_done(config, workdir, before):
            lacks = stages.progress(workdir / before, _steps(config, before))
            raise ConfigError(
                f"stage {stage!r} of config.stages needs {before!r}, which {lacks}: add "
                f"{before!r} to config.stages."
            )


def check_networks(config) -> None:
    """Raises ValueError where a network of the asked stages cannot take images of that size.

    Traces shapes only, so that the fourth network fails before the first one trains.
    """
    task = _abstract_task(config)
    if "translation" in stages_of(config):
        jax.eval_shape(partial(cycada_translation.init_state, config), run_key(0), task)


def check_sets(config, domains: cycada_data.Domains) -> None:
    """Opens every set that the asked stages read, before the first of them trains.

    Raises:
        ConfigError: a domain has no image, other classes than the network, no labels where a
            stage learns from them, or one image where the criteria without labels need two.
        ValueError: files or options are wrong, or the domains have different classes.
    """
    asked = set(stages_of(config))
    with_target = asked & {"target", "translation", *ALIGNMENT_STAGES}
    for split in ("train", "validation"):
        source = domains.open("source", split) if asked != {"target"} else None
        target = domains.open("target", split) if with_target else None
        if source is not None and target is not None:
            cycada_data.check_domains(source, target)
        if "target" in asked:
            cycada_data.check_labelled(config, target, split)
    measured = {"test" if config.target.test_split else "validation"}
    if asked & set(ALIGNMENT_STAGES):
        measured.add("validation")
    for split in sorted(measured):
        cycada_data.check_comparable(config, domains.open("target", split), split)


def is_done(config, workdir: Path, stage: str) -> bool:
    """Whether a stage has trained for all of its steps, and the source is translated."""
    trained = stages.is_done(workdir / stage, _steps(config, stage))
    return trained and (
        stage != "translation" or cycada_data.is_translated(config, translated_folder(workdir))
    )


def done_stages(config, workdir: Path) -> tuple[str, ...]:
    """The finished stages, in order."""
    return tuple(stage for stage in STAGES if is_done(config, workdir, stage))


def final_stage(config, workdir: Path) -> str:
    """The task network to use: the furthest adapted one; "target" only where nothing else is.

    Raises:
        ConfigError: no task network is finished.
    """
    for stage in ("pixel_feature", "feature", "pixel", "source", "target"):
        if is_done(config, workdir, stage):
            return stage
    lacks = stages.progress(workdir / "source", _steps(config, "source"))
    raise ConfigError(
        f"no task network in {workdir}: the stage 'source' {lacks}. Train first (--mode=train)."
    )


def translated_folder(workdir: Path) -> Path:
    """Where the translated source lies."""
    return workdir / "translation" / "translated"


def _section(config, stage):
    """The section of the config that says how a stage trains."""
    if stage in TASK_STAGES:
        return config.task
    return config.translation if stage == "translation" else config.alignment


def _steps(config, stage):
    return _section(config, stage).train.steps


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
    began_from = {}
    if stage == "pixel":
        folder = translated_folder(workdir)
        opened = partial(domains.translated, folder)
        began_from["translation"] = cycada_data.translated_step(folder)
    else:
        opened = partial(domains.open, "target" if stage == "target" else "source")
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
        workdir,
        devices,
        stage,
        init=partial(cycada.init_task, config),
        given=imagenet_variables(config),
        step=partial(cycada.task_step, config),
        batches=cycada_data.training_batches(config, config.task.train, source=opened("train")),
        validate=validate,
        began_from=began_from,
    )


def imagenet_variables(config) -> tuple:
    """Variables of a task network with the ImageNet weights that the config names, if any."""
    path = config.model.pretrained
    if not path:
        return ()
    from jaxgen.models import pretrained

    load = {"fcn8s": pretrained.load_vgg16, "drn26": pretrained.load_drn26}[config.model.name]
    fresh = jax.jit(partial(cycada.init_task, config))(run_key(config.seed)).network.ema
    return (load(hosts.fetch(fresh), path),)


def _train_translation(config, workdir, devices, domains):
    source = domains.open("source", "train")
    target = domains.open("target", "train")
    folder = workdir / "translation"
    judge, began_from = None, {}
    if needs(config, "translation"):
        judge, began_from["source"] = _network_of(config, workdir, devices, "source")
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
        workdir,
        devices,
        "translation",
        init=partial(cycada_translation.init_state, config),
        given=(judge,),
        step=partial(cycada_translation.train_step, config),
        batches=cycada_data.training_batches(
            config, config.translation.train, source=source, target=target
        ),
        validate=validate,
        began_from=began_from,
    )
    cycada_data.write_translated(
        config,
        domains,
        translated_folder(workdir),
        partial(translate, state.generators.ema["params"]["target"]),
        step=int(state.step),
    )


def _both_ways(translate, params, name, images):
    return translate(params[name], images)


def _train_alignment(config, workdir, devices, domains, stage):
    start = needs(config, stage)
    if start == "pixel":
        source = domains.translated(translated_folder(workdir), "train")
    else:
        source = domains.open("source", "train")
    target = domains.open("target", "train")
    held_out = domains.open("target", "validation")
    evaluate = cycada_evaluation.compile_evaluate(config, devices)
    name = cycada_evaluation.headline(config)
    variables, step = _network_of(config, workdir, devices, start)

    def validate(state):
        found = evaluate(state.network.ema, held_out)
        numbers = cycada_evaluation.label_free_numbers(found.probabilities)
        numbers |= criterion(config, numbers)
        if not found.confusion.sum():
            return numbers  # a target without any label
        # What the labels would have said is shown beside the criteria; it chooses nothing.
        oracle = cycada_evaluation.task_numbers(config, found.confusion)[name]
        return numbers | {f"oracle_{name}": oracle}

    _run(
        config,
        workdir,
        devices,
        stage,
        init=partial(cycada_alignment.init_state, config),
        given=(variables,),
        step=partial(cycada_alignment.train_step, config),
        batches=cycada_data.training_batches(
            config, config.alignment.train, source=source, target=target
        ),
        validate=validate,
        began_from={start: step},
    )


def criterion(config, numbers: Mapping[str, float]) -> dict[str, float]:
    """{"criterion": what config.alignment.select makes of label-free numbers, lowest is best}.

    Empty where the last checkpoint is to be kept.
    """
    select = config.alignment.select
    signs = {"entropy": 1, "information_maximisation": -1, "soft_neighbourhood_density": -1}
    return {} if select == "latest" else {"criterion": signs[select] * numbers[select]}


def _network_of(config, workdir, devices, stage):
    """Averaged variables of a stage's task network, on the host, and its step."""
    state, step = restore(config, workdir, devices, stage)
    return hosts.fetch(state.network.ema), step


def _run(config, workdir, devices, stage, *, init, given=(), **options):
    """One stage through the loop, from init(key, *given); returns its last state."""
    key = jax.random.fold_in(run_key(config.seed), STAGES.index(stage))
    settings = _section(config, stage).train
    start = mesh.compile_init(
        devices, lambda given: init(*given), shard_above=settings.shard_parameters_above
    )
    return stages.run(
        workdir / stage,
        devices,
        best_metric=BEST,
        settings=settings,
        state=start((key, *given)),
        **options,
    )
