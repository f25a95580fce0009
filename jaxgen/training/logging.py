"""Metrics on disk: metrics.jsonl always, TensorBoard events unless switched off."""

import json
import logging
from pathlib import Path

from jaxgen.training.files import write_atomically

_log = logging.getLogger(__name__)


class MetricWriter:
    """Appends flat numbers by step to WORKDIR/metrics.jsonl and TensorBoard events.

    Lines of steps after `resume_step` are dropped on opening: an interrupted run that goes
    on from its checkpoint repeats them.
    """

    def __init__(self, workdir: Path, *, resume_step: int = 0, tensorboard: bool = True):
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(self._path) if line["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = self._path.open("a")
        self._events = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=resume_step + 1 if resume_step else None
            )

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Writes one line; visible to readers at once."""
        self._file.write(json.dumps({"step": step} | numbers) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The records of a metrics.jsonl; a half-written last line is left out.

    Any other damaged line is left out too, with a warning that names it.
    """
    if not path.exists():
        return []
    records, damaged = [], []
    for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
        try:
            record = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            record = ()
        if isinstance(record, dict) and type(record.get("step")) is int:
            records.append(record)
        elif record is not None:
            damaged.append(number)
    if damaged and damaged[0] <= len(records):  # something whole comes after it
        _log.warning("%s: line %d is damaged and left out", path, damaged[0])
    return records
