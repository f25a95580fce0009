"""LaplaceKL face alignment: train, evaluate, predict, export.

python -m experiments.laplace                                   embedded synthetic faces
python -m experiments.laplace --config=experiments/configs/laplace/helen.py --workdir=runs/helen
python -m experiments.laplace --mode=predict --workdir=runs/helen --input=photos/
"""

from functools import partial
from pathlib import Path

from absl import flags

from experiments import command_line
from jaxgen.tasks.laplace_schema import check_config, needs_unlabelled

command_line.define_boxes()


def train(config, workdir):
    """Trains to config.train.steps, or on from the newest checkpoint, and evaluates."""
    from jaxgen.tasks import laplace, laplace_data, laplace_evaluation
    from jaxgen.training import hosts, loop
    from jaxgen.training.checkpoint import Checkpoints

    devices = command_line.open_devices(config, training=True)
    labelled = laplace_data.open_split(config, "train")
    validation = laplace_data.open_split(config, "validation")
    laplace_data.check_normalizer(config, validation, "validation")
    laplace_data.check_normalizer(config, laplace_data.open_test(config), config.data.test_split)
    unlabelled = laplace_data.open_unlabelled(config) if needs_unlabelled(config) else None
    evaluate_split = laplace_evaluation.compile_evaluate(config, devices)

    def validate(state):
        found = evaluate_split(state.generator.ema, validation)
        return laplace_evaluation.validation_numbers(config, found)

    checkpoints = Checkpoints(workdir / "checkpoints", best_metric=best_metric(config))
    loop.train(
        initial_state(config, devices),
        step=partial(laplace.train_step, config),
        batches=laplace_data.training_batches(config, labelled, unlabelled),
        validate=validate,
        mesh=devices,
        checkpoints=checkpoints,
        workdir=workdir,
        settings=config.train,
    )
    checkpoints.close()
    hosts.wait_for_all("end of training")
    evaluate(config, workdir)


def evaluate(config, workdir):
    """Measures the chosen checkpoint on the test split and writes WORKDIR/report."""
    from jaxgen.tasks import laplace_data, laplace_evaluation
    from jaxgen.training.logging import read_metrics

    devices, variables, step = restore(config, workdir)
    source = laplace_data.open_test(config)
    found = laplace_evaluation.compile_evaluate(config, devices)(variables, source)
    numbers = laplace_evaluation.report(
        config,
        workdir / "report",
        found,
        source,
        variables=variables,
        step=step,
        records=read_metrics(workdir / "metrics.jsonl"),
    )
    command_line.print_results(numbers, workdir / "report")


def predict(config, workdir):
    """Writes landmarks of --input as JSON, CSV and annotated pictures to WORKDIR/predictions."""
    from jaxgen.tasks import laplace_inference, laplace_predict

    devices, variables, _ = restore(config, workdir)
    laplace_predict.predict_media(
        config,
        partial(laplace_inference.compile_predictor(config, devices), variables),
        flags.FLAGS.input,
        boxes=flags.FLAGS.boxes,
        output=workdir / "predictions",
    )


def export(config, workdir):
    """Writes WORKDIR/export/landmarks.stablehlo: uint8 crops -> points and scales."""
    from jaxgen.tasks import laplace_inference

    _, variables, step = restore(config, workdir)
    path = laplace_inference.export(config, variables, workdir / "export", step=step)
    print(f"wrote {path}")


def initial_state(config, devices):
    """A state at step 0; its landmark network is that of config.model.pretrained, if named."""
    from jaxgen.tasks import laplace
    from jaxgen.training import mesh
    from jaxgen.training.state import run_key
    from jaxgen.training.workdir import saved_config

    compile_init = partial(
        mesh.compile_init, devices, shard_above=config.train.shard_parameters_above
    )
    state = compile_init(partial(laplace.init_state, config))(run_key(config.seed))
    if config.model.pretrained:
        workdir = Path(config.model.pretrained).expanduser()
        _, variables, _ = restore(saved_config(workdir), workdir)
        state = compile_init(lambda pair: laplace.start_from(*pair))((state, variables))
    return state


def best_metric(config):
    """Validation metric whose lowest value chooses the checkpoint; never a test figure."""
    return f"validation/nme_{config.evaluate.normalizer}"


def restore(config, workdir):
    """The mesh, the averaged variables of the chosen checkpoint, and its step."""
    import jax

    from jaxgen.tasks import laplace
    from jaxgen.training import checkpoint, mesh
    from jaxgen.training.state import run_key
    from jaxgen.training.workdir import CONFIG_FILE, saved_config

    devices = command_line.open_devices(config)
    # The run's own metric chose the checkpoints that are left, whatever is to be measured now.
    run = saved_config(workdir) if (workdir / CONFIG_FILE).exists() else config
    like = jax.eval_shape(partial(laplace.init_state, config), run_key(0))
    state, step = checkpoint.restore_one(
        workdir / "checkpoints",
        mesh.abstract_replicated(devices, like),
        best_metric=best_metric(run),
        which=config.evaluate.checkpoint,
    )
    return devices, state.generator.ema, step


if __name__ == "__main__":
    modes = {"train": train, "evaluate": evaluate, "predict": predict, "export": export}
    command_line.run("laplace", check_config, modes)
