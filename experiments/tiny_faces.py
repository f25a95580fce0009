"""Tiny faces: a proposal detector, a super-resolving generator, a two-headed discriminator.

python -m experiments.tiny_faces                                embedded synthetic crowds
python -m experiments.tiny_faces --config=experiments/configs/tiny_faces/wider_face.py
python -m experiments.tiny_faces --mode=predict --workdir=runs/tiny_faces --input=photos/
"""

from absl import flags

from experiments import command_line
from experiments.command_line import open_devices
from jaxgen.tasks.tiny_faces_schema import check_config

command_line.define_boxes()


def train(config, workdir):
    """Runs the stages of config.stages, goes on with unfinished ones, and evaluates."""
    from jaxgen.tasks import tiny_faces_stages

    tiny_faces_stages.run_stages(config, workdir, open_devices(config, training=True))
    evaluate(config, workdir)


def evaluate(config, workdir):
    """Measures every finished stage on the test split and writes WORKDIR/report."""
    from jaxgen.tasks import tiny_faces_report

    numbers = tiny_faces_report.write(config, workdir, open_devices(config))
    command_line.print_results(numbers, workdir / "report")


def predict(config, workdir):
    """Writes the faces of --input to WORKDIR/predictions."""
    from jaxgen.tasks import tiny_faces_predict

    tiny_faces_predict.predict_media(
        config,
        workdir,
        open_devices(config),
        flags.FLAGS.input,
        boxes=flags.FLAGS.boxes,
        output=workdir / "predictions",
    )


def export(config, workdir):
    """Writes WORKDIR/export: StableHLO artifacts of the trained networks."""
    from jaxgen.tasks import tiny_faces_predict

    for path in tiny_faces_predict.export(config, workdir, open_devices(config)):
        print(f"wrote {path}")


if __name__ == "__main__":
    modes = {"train": train, "evaluate": evaluate, "predict": predict, "export": export}
    command_line.run("tiny_faces", check_config, modes)
