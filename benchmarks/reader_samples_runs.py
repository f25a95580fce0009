"""Valid files of the readers of weights and of what runs leave behind."""

import functools
import importlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.reader_case import FOLDER, Reader, finite
from jaxgen.training.errors import ConfigError


def readers():
    """All of them."""
    yield from _weights()
    yield from _runs()
    yield from _checkpoints()


# ------------------------------------------------------------------ weights and arrays


def _weights():
    from jaxgen.data import face_pair_files
    from jaxgen.tasks import cycada_data
    from jaxgen.training import export

    try:
        from safetensors import numpy as safe
    except ModuleNotFoundError:
        pass
    else:
        from jaxgen.models import pretrained

        arrays = {"layer.weight": np.ones((2, 3), np.float32), "layer.bias": np.zeros(2, "f4")}
        yield Reader(
            "safetensors", "weights.safetensors", safe.save(arrays), pretrained.read,
            lambda found: next((w for a in found.values() if (w := finite(most=np.inf)(a))), None),
            knows_its_end=True,
        )  # fmt: skip

    stream = io.BytesIO()
    np.savez_compressed(stream, image=np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3))
    yield Reader(
        "translated_npz", "train.npz", stream.getvalue(),
        lambda path: cycada_data.read_translated(path, (1, 4, 4, 3)),
        knows_its_end=True,
    )  # fmt: skip

    stream = io.BytesIO()
    np.save(stream, np.arange(12, dtype=np.float32).reshape(3, 4))

    def read_crops(path):
        others = [path.with_name(f"{name}.npy") for name in face_pair_files.NAMES]
        for other in others:
            if other != path and not other.exists():
                np.save(other, np.zeros(3, np.float32))
        found = face_pair_files.open_split(path.parent)
        return {name: np.array(array) for name, array in found.items()}

    yield Reader(
        "crops_npy", "box.npy", stream.getvalue(), read_crops,
        lambda found: None if len({len(a) for a in found.values()}) == 1 else "unequal lengths",
        raises=(ConfigError,), knows_its_end=True,
    )  # fmt: skip

    def artifact():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.stablehlo"
            export.write_artifact(path, lambda x: x + 1, [((2,), np.float32)], description={})
            return path.read_bytes()

    yield Reader("stablehlo", "net.stablehlo", artifact(), export.read_artifact)


# ------------------------------------------------------------------ what runs leave behind


def _runs():
    from experiments.studies import records
    from jaxgen.tasks import dr_gan_predict, dr_gan_stages
    from jaxgen.training import config, logging, workdir

    def read_config(check, path):
        found = workdir.saved_config(path.parent)
        try:
            check(found)
        except ConfigError as error:  # it names the key; the command line names the run
            raise ConfigError(f"{path}: {error}") from error
        return config.to_json(found)

    for system in ("laplace", "cycada", "dr_gan", "tiny_faces"):
        default = importlib.import_module(f"experiments.configs.{system}.default").get_config()
        schema = importlib.import_module(f"jaxgen.tasks.{system}_schema")
        yield Reader(
            f"config_{system}", "config.json", config.to_json(default).encode(),
            functools.partial(read_config, schema.check_config), raises=(ConfigError,), text=True,
            knows_its_end=True,
        )  # fmt: skip

    text = "".join(json.dumps({"step": k, "train/loss": 1 / k}) + "\n" for k in range(1, 5))

    def check_metrics(found):
        good = all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in found)
        return None if good else f"records {found}"[:80]

    yield Reader(
        "metrics_jsonl", "metrics.jsonl", text.encode(), logging.read_metrics, check_metrics,
        text=True,
    )  # fmt: skip
    text = json.dumps({"threshold": 0.25, "stage": "recogniser", "step": 4}, indent=1)

    def read_threshold(path):
        report = path.parent / "report"
        report.mkdir(exist_ok=True)
        (report / "results.json").unlink(missing_ok=True)
        if path.is_file():
            (report / "results.json").write_bytes(path.read_bytes())
        return dr_gan_predict.threshold_of(path.parent, stage="recogniser", step=4)

    yield Reader(
        "results_json", "results.json", text.encode(), read_threshold, finite(),
        raises=(ConfigError,), text=True, knows_its_end=True,
    )  # fmt: skip
    yield Reader(
        "people_json", dr_gan_stages.PEOPLE_FILE, b'{"people": 320}\n',
        lambda path: dr_gan_stages.people_count(path.parent),
        lambda n: None if 0 < n < 10**8 else f"{n} people", raises=(ConfigError,), text=True,
        knows_its_end=True,
    )  # fmt: skip

    facts = dict(study="s", dataset="d", split="t", method="m", variant="v", seed=0, steps=9)
    text = json.dumps(facts | dict(metric="nme", value=3.5, command="python -m x")) + "\n"

    def read_records(path):
        before, records.ROOT = records.ROOT, path.parent
        try:
            target = records.records_path("laplace")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "Is a directory", str(path))
            target.write_bytes(path.read_bytes())
            return records.read("laplace")
        finally:
            records.ROOT = before

    yield Reader(
        "study_records", "laplace.jsonl", (text * 3).encode(), read_records,
        lambda found: None if all(isinstance(r, dict) for r in found) else "no record",
        text=True,
    )  # fmt: skip


def _checkpoints():
    import jax

    from jaxgen.training import checkpoint, mesh
    from jaxgen.training.errors import CheckpointMismatch

    state = {"weights": jax.numpy.arange(6.0), "step": jax.numpy.int32(3)}
    like = mesh.abstract_replicated(mesh.data_mesh(jax.devices()[:1]), state)
    metric = "validation/error"
    # Kept until the process ends, as one more folder of samples.
    saved = Path(FOLDER.name) / "checkpoints"
    shutil.rmtree(saved, ignore_errors=True)
    writer = checkpoint.Checkpoints(saved, best_metric=metric)
    writer.save(3, jax.device_put(state), {"next": 3}, {metric: 0.5})
    writer.close()

    def read(inside, path):
        folder = path.parent / "run" / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        target = folder / "3" / inside
        target.unlink()
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
        found, step = checkpoint.restore_one(folder, like, best_metric=metric, which="best")
        return jax.device_get(found), step

    def check(found):
        restored, step = found
        same = step == 3 and restored["step"] == 3 and (restored["weights"] == np.arange(6)).all()
        return None if same else f"restored {restored}"

    files = {"metadata": "state/_METADATA", "manifest": "state/manifest.ocdbt",
             "position": "position/metadata", "metrics": "metrics/metrics",
             "digests": "digests.json"}  # fmt: skip
    for name, inside in files.items():
        yield Reader(
            f"checkpoint_{name}", "checkpoints", (saved / "3" / inside).read_bytes(),
            functools.partial(read, inside), check, raises=(CheckpointMismatch,),
            text=name != "manifest", slow=True,
        )  # fmt: skip
