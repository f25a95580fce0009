"""CyCADA domain adaptation: train all stages, evaluate, predict, export.

python -m experiments.cycada                                    embedded digits
python -m experiments.cycada --config=experiments/configs/cycada/digits.py:mnist_to_usps
python -m experiments.cycada --mode=predict --workdir=runs/cycada --input=photos/
"""

from absl import flags

from experiments import command_line
from experiments.command_line import open_devices
from jaxgen.tasks.cycada_schema import check_config


def train(config, workdir):
    """Runs the stages of config.stages, goes on with unfinished ones, and evaluates."""
    from jaxgen.tasks import cycada_data, cycada_stages

    domains = cycada_data.Domains(config)
    cycada_stages.run_stages(config, workdir, open_devices(config, training=True), domains)
    evaluate(config, workdir, domains)


def evaluate(config, workdir, domains=None):
    """Measures every finished stage on the target's test split and writes WORKDIR/report."""
    from jaxgen.tasks import cycada_data, cycada_report

    domains = domains or cycada_data.Domains(config)
    numbers = cycada_report.write(config, workdir, open_devices(config), domains)
    command_line.print_results(numbers, workdir / "report")


def predict(config, workdir):
    """Writes what the last adapted network says of --input to WORKDIR/predictions."""
    from jaxgen.tasks import cycada_predict

    cycada_predict.predict_files(config, workdir, open_devices(config), flags.FLAGS.input)


def export(config, workdir):
    """Writes WORKDIR/export/network.stablehlo: uint8 images -> class probabilities."""
    from jaxgen.tasks import cycada_predict

    print(f"wrote {cycada_predict.export(config, workdir, open_devices(config))}")


if __name__ == "__main__":
    modes = {"train": train, "evaluate": evaluate, "predict": predict, "export": export}
    command_line.run("cycada", check_config, modes)
