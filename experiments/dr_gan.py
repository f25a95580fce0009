"""DR-GAN, pose-invariant face recognition: train all stages, evaluate, predict, export.

python -m experiments.dr_gan                                    embedded synthetic people
python -m experiments.dr_gan --config=experiments/configs/dr_gan/cfp.py --workdir=runs/cfp
python -m experiments.dr_gan --mode=predict --workdir=runs/cfp --gallery=people/ --input=photos/
With --claim=anna the last command says too whether photos/ show anna.
"""

from absl import flags

from experiments import command_line
from experiments.command_line import open_devices
from jaxgen.tasks.dr_gan_schema import check_config

flags.DEFINE_string("gallery", "", "predict: a folder of people, each a folder of pictures.")
flags.DEFINE_string("landmarks", "", "predict: CSV of points, as experiments.laplace predicts.")
flags.DEFINE_string("gallery_landmarks", "", "predict: the same for the pictures of --gallery.")
flags.DEFINE_string("claim", "", "predict: a person of --gallery whom --input is said to show.")


def train(config, workdir):
    """Runs the stages of config.stages, goes on with unfinished ones, and evaluates."""
    from jaxgen.tasks import dr_gan_data, dr_gan_protocol, dr_gan_stages

    sets = dr_gan_data.Sets(config)
    dr_gan_protocol.check_test(config, sets)
    dr_gan_stages.run_stages(config, workdir, open_devices(config, training=True), sets)
    evaluate(config, workdir, sets)


def evaluate(config, workdir, sets=None):
    """Measures every finished stage on people outside of training and writes WORKDIR/report."""
    from jaxgen.tasks import dr_gan_data, dr_gan_report

    sets = sets or dr_gan_data.Sets(config)
    numbers = dr_gan_report.write(config, workdir, open_devices(config), sets)
    command_line.print_results(numbers, workdir / "report")


def predict(config, workdir):
    """Identifies, verifies, ranks and turns the faces of --input; writes WORKDIR/predictions."""
    from jaxgen.tasks import dr_gan_predict

    dr_gan_predict.predict_files(
        config,
        workdir,
        open_devices(config),
        media=flags.FLAGS.input,
        gallery=flags.FLAGS.gallery,
        landmarks=flags.FLAGS.landmarks,
        gallery_landmarks=flags.FLAGS.gallery_landmarks,
        claim=flags.FLAGS.claim,
    )


def export(config, workdir):
    """Writes WORKDIR/export: encoder.stablehlo and rotate.stablehlo."""
    from jaxgen.tasks import dr_gan_predict

    for path in dr_gan_predict.export(config, workdir, open_devices(config)):
        print(f"wrote {path}")


if __name__ == "__main__":
    modes = {"train": train, "evaluate": evaluate, "predict": predict, "export": export}
    command_line.run("dr_gan", check_config, modes)
