"""Metrics on disk: metrics.jsonl always, TensorBoard events unless switched off."""

import json
import logging
from pathlib import Path

from jaxgen.training import hosts
from jaxgen.training.files import write_atomically

_log = logging.getLogger(__name__)


class MetricWriter:
    """Appends flat numbers by step to WORKDIR/metrics.jsonl and TensorBoard events.

    Lines of steps after `resume_step` are dropped on opening: an interrupted run that goes
    on from its checkpoint repeats them. Of several processes only the first one writes.
    """

    def __init__(self, workdir: Path, *, resume_step: int = 0, tensorboard: bool = True):
        self._arguments = dict(workdir=workdir, tensorboard=tensorboard)
        self._file = self._events = None
        if not hosts.is_first():
            return
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(self._path) if line["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = self._path.open("ab", buffering=0)
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=resume_step + 1 if resume_step else None
            )

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Writes one line; visible to readers at once.

        Raises:
            OSError: the disk is full, or as bad; the message names the file.
        """
        if self._file is None:
            return
        try:
            self._file.write((json.dumps({"step": step} | numbers) + "\n").encode())
        except OSError as error:
            raise OSError(
                f"cannot write {self._path}: {error.strerror}. Checkpoints saved so far are kept; "
                "make room, then run the same command again to go on."
            ) from error
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, step)

    def rewind(self, step: int) -> None:
        """Drops the lines of later steps: training goes back to this one."""
        self.close()
        self.__init__(resume_step=step, **self._arguments)

    def close(self) -> None:
        """Closes both files."""
        if self._file is not None:
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


def counted(records: list[dict[str, float]]) -> dict[str, float]:
    """What went wrong and was survived, for results.json: {} where there is nothing to tell.

    Args:
        records: lines of a metrics.jsonl.

    Returns:
        corrupt_records: records that could not be read and were left out, where some may be;
        rollbacks: how often training went back after a NaN, if it did.
    """
    corrupt, rollbacks = (
        [line[name] for line in records if name in line]
        for name in ("train/corrupt_records", "train/rollbacks")
    )
    found = {"corrupt_records": corrupt[-1]} if corrupt else {}
    return found | ({"rollbacks": len(rollbacks)} if rollbacks else {})
