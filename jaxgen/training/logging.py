"""Metrics on disk: metrics.jsonl always, TensorBoard events unless switched off."""

import json
from pathlib import Path

from jaxgen.training import hosts
from jaxgen.training.files import write_atomically


class MetricWriter:
    """Appends flat numbers by step to WORKDIR/metrics.jsonl and TensorBoard events.

    Lines of steps after `resume_step` are dropped on opening: an interrupted run that goes
    on from its checkpoint repeats them. Of several processes only the first one writes.
    """

    def __init__(self, workdir: Path, *, resume_step: int = 0, tensorboard: bool = True):
        self._file = self._events = None
        if not hosts.is_first():
            return
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(self._path) if line["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = self._path.open("a")
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=resume_step + 1 if resume_step else None
            )

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Writes one line; visible to readers at once."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step} | numbers) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes both files."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The records of a metrics.jsonl; a half-written last line is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
