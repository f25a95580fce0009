"""The shared loop on a toy regression: resume, NaN, best checkpoint, logs."""

import time

import chex
import jax
import numpy as np
import pytest

from jaxgen.training import damage
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.errors import CheckpointMismatch, NotFinite
from jaxgen.training.logging import read_metrics
from jaxgen.training.mesh import data_mesh

from .toy_run import BEST, Batches, run


def test_stopped_and_resumed_run_is_bit_identical(tmp_path):
    straight = run(tmp_path / "a", 8)
    run(tmp_path / "b", 4)
    resumed = run(tmp_path / "b", 8)
    chex.assert_trees_all_equal(straight, resumed)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in "ab"]
    losses = [[m["train/loss"] for m in line if "train/loss" in m] for line in lines]
    assert losses[0] == losses[1] and len(losses[0]) == 8


def test_many_devices_match_one(tmp_path):
    many = run(tmp_path / "a", 3)
    one = run(tmp_path / "b", 3, mesh=data_mesh(jax.devices()[:1]))
    chex.assert_trees_all_close(many, one, rtol=1e-5)


def test_nan_stops_with_step_and_batch(tmp_path):
    with pytest.raises(NotFinite, match="step 5"):
        run(tmp_path, 9, batches=Batches(nan_from=5))
    saved = np.load(tmp_path / "not_finite_step_5.npz", allow_pickle=False)
    assert np.isnan(saved["numbers.image"]).all()
    # The newest checkpoint is from before, so training can go on from it.
    assert int(run(tmp_path, 8).step) == 8


def test_best_step_is_kept_and_found(tmp_path):
    errors = {2: 5.0, 4: 1.0, 6: 3.0, 8: 4.0, 10: 2.0}
    run(tmp_path, 10, validate=lambda state: {"error": errors[int(state.step)]})
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric=BEST, create=False)
    assert checkpoints.best_step() == 4
    assert checkpoints.latest_step() == 10


def test_the_last_step_is_validated_and_kept(tmp_path):
    seen = []
    run(tmp_path, 5, validate=lambda state: seen.append(int(state.step)) or {"error": 1.0})
    assert seen == [2, 4, 5]
    kept = Checkpoints(tmp_path / "checkpoints", best_metric=BEST, create=False)
    assert kept.latest_step() == 5


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path, caplog):
    errors = {2: 5.0, 4: np.nan, 6: 6.0, 8: -np.inf, 10: 7.0}
    run(tmp_path, 10, validate=lambda state: {"error": errors[int(state.step)]})
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric=BEST, create=False)
    assert checkpoints.best_step() == 2
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "2", "8"]
    said = [r.getMessage() for r in caplog.records if "count as the best" in r.getMessage()]
    expected = [f"{BEST} is nan at step 4", f"{BEST} is -inf at step 8"]
    assert [line.split(":")[0] for line in said] == expected


def test_finished_run_trains_no_further(tmp_path, caplog):
    first = run(tmp_path, 4)
    again = run(tmp_path, 4)
    chex.assert_trees_all_equal(first, again)
    assert "nothing to train" in caplog.text


def test_checkpoint_of_another_width_is_refused(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(CheckpointMismatch, match=r"weights has shape \(4,\).*\(5,\)"):
        run(tmp_path, 4, width=5)


def test_error_leaves_no_save_half_done(tmp_path, monkeypatch):
    """A new start in the same process would take it for a cut-off one and remove it."""

    def slow(folder, write=damage.write_digests):
        time.sleep(1)
        write(folder)

    class Broken(Batches):
        def __next__(self):
            if self.position == 3:
                raise ValueError("broken")
            return super().__next__()

    found = []
    folder = tmp_path / "checkpoints"
    monkeypatch.setattr(damage, "write_digests", slow)
    monkeypatch.setattr(
        Checkpoints, "close", lambda self: found.extend(path.name for path in folder.iterdir())
    )
    with pytest.raises(ValueError, match="broken"):
        run(tmp_path, 9, batches=Broken())
    assert "2" in found and not any("tmp" in name for name in found)
