"""The cost of a step: that the plain loop does the same work, and how goals are judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ume_r1_bench.train_cost.__main__ import run_cell, too_large
from ume_r1_bench.train_cost.cell import Job
from ume_r1_bench.train_cost.loop import PlainLoop
from ume_r1_bench.train_cost.report import goals, table
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.gradient_proof import SCRATCH
from ume_r1_trainer.made_records import write_records
from ume_r1_trainer.ranks import Ranks
from ume_r1_trainer.sft import Sft


def test_the_plain_loop_has_the_same_loss_as_our_step(tmp_path: Path) -> None:
    # No two of the targets are alike: the plain loop has no mask for such.
    records = write_records(tmp_path / "records", pairs=8, side=56)
    config = SftConfig(
        data=str(records), output=str(tmp_path / "run"), scratch=SCRATCH, preset="serving", steps=1,
        batch_size=8, chunk_size=3, temperature=0.1, threads=1,
    )  # fmt: skip
    run = Sft(config, Ranks())
    pairs = [run.corpus[row] for row in run.feed.rows(0)[1]]
    loop = PlainLoop(tmp_path / "run" / "start", records, 0.1)
    figures = run.train_step(run.feed.batch(0))
    assert loop.step(pairs) == pytest.approx(sum(figures[name] for name in ("ce", "disc", "gen")), rel=0.02)
    assert torch.get_num_threads() == 1


def test_goals_are_judged_by_medians_and_a_missed_one_is_called_so() -> None:
    def cell(peak: float, speed: float) -> dict[str, float]:
        return {"peak_mb": peak, "pairs_per_s": speed, "pairs_per_cpu_s": speed}

    cells = {
        ("loop", 64): [cell(900, 10), cell(1000, 10), cell(5000, 1)],
        ("whole", 64): [cell(900, 9.6)],
        ("cached", 64): [cell(500, 7)],
        ("cached", 1024): [cell(999, 7)],
    }
    found = dict(goals(cells, 64, 1024))
    assert list(found.values()) == [True, True, False]
    assert "999 of 1,000 MB" in next(iter(found))
    text = table(cells, {("loop", 1024): "not run: would need much"})
    assert "| cached | 64 | 500 | 7.00 | 7.00 | 0.70 |" in text
    assert "| loop | 1,024 | not run: would need much |" in text
    assert goals({}, 64, 1024) == [
        ("cached at 1,024 within the plain loop's memory at 64: not measured", None)
    ]


def test_a_plain_loop_that_would_not_fit_is_not_run() -> None:
    assert too_large(64, {16: 1000.0}) is None
    assert too_large(128, {16: 100.0, 32: 110.0}) is None
    assert "would need about" in (too_large(1024, {16: 1e6, 64: 1e8}) or "")


def test_a_cell_that_fails_says_why(tmp_path: Path) -> None:
    found = run_cell(Job("loop", 4, 2, 1, str(tmp_path), 1))
    assert isinstance(found, str)
    assert "no record file" in found
