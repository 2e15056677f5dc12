"""Memory and throughput of a step: ``python -m ume_r1_bench.train_cost``.

Every cell is a fresh process, and the cells take turns in rounds, since machines have moods. Ratios are of
CPU seconds, which a busy machine spoils less than the clock. A plain loop that would not fit is not run.

Examples:
  python -m ume_r1_bench.train_cost                                    # ~100 M parameters; hours on a CPU
  python -m ume_r1_bench.train_cost --size small --batches 16,64 --rounds 1
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from ume_r1_bench.train_cost.cell import Job
from ume_r1_bench.train_cost.report import goals, table

logger = logging.getLogger(__name__)

SIZES = {
    "small": {
        "hidden": 256,
        "layers": 4,
        "heads": 8,
        "kv_heads": 4,
        "intermediate": 768,
        "vision": 128,
        "vision_depth": 2,
        "vision_heads": 4,
    },
    "100m": {
        "hidden": 768,
        "layers": 15,
        "heads": 24,
        "kv_heads": 8,
        "intermediate": 2048,
        "vision": 256,
        "vision_depth": 4,
        "vision_heads": 8,
    },
}
WAYS = ("loop", "whole", "cached")


def prepare(folder: Path, size: str, pairs: int) -> int:
    """Writes records and a random model, and returns how many parameters it has."""
    from safetensors import safe_open

    from ume_r1_trainer import nano
    from ume_r1_trainer.corpus import Corpus
    from ume_r1_trainer.made_records import write_records

    write_records(folder / "records", pairs=pairs, words=(20, 60))
    nano.build(folder / "model", Corpus(folder / "records"), 640, SIZES[size], seed=0)
    with safe_open(folder / "model" / "model.safetensors", "pt") as file:
        total = 0
        for name in file.keys():  # noqa: SIM118 -- it is no dict
            count = 1
            for length in file.get_slice(name).get_shape():
                count *= length
            total += count
        return total


def run_cell(job: Job) -> dict[str, float] | str:
    """Returns the figures of a cell, or why there are none."""
    command = [sys.executable, "-m", "ume_r1_bench.train_cost.cell", json.dumps(asdict(job))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603 -- our own module
    if done.returncode == -9:
        return "killed: out of memory"
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1]}"
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def too_large(batch: int, known: dict[int, float]) -> str | None:
    """Returns why a plain loop is not run: what it needs, by a straight line through what was measured."""
    if len(known) < 2:
        return None
    (x0, y0), (x1, y1) = sorted(known.items())[-2:]
    need = y1 + (y1 - y0) / (x1 - x0) * (batch - x1)
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) / 1024
            return f"not run: would need about {need:,.0f} MB of {free:,.0f}" if need > 0.9 * free else None
    return None


def main() -> int:
    """Prints the table and the goals; returns 1 if one is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m ume_r1_bench.train_cost",
        description=(__doc__ or "").partition("\n\nExamples")[0],
        epilog=(__doc__ or "").partition("Examples:\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="100m")
    parser.add_argument("--batches", default="64,256,1024", help="pairs a step (default: 64,256,1024)")
    parser.add_argument(
        "--chunk", type=int, default=16, help="sides at once of the cached step (default: 16)"
    )
    parser.add_argument("--steps", type=int, default=1, help="timed steps of a cell (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each cell (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--out", type=Path, help="write every measurement as JSON")
    given = parser.parse_args()
    batches = sorted(int(batch) for batch in given.batches.split(","))
    cells: dict[tuple[str, int], list[dict[str, float]]] = {}
    reasons: dict[tuple[str, int], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        parameters = prepare(Path(folder), given.size, max(batches) * (given.steps + 1))
        for turn in range(given.rounds):
            peaks: dict[int, float] = {}
            for batch in batches:
                for way in WAYS:
                    reason = too_large(batch, peaks) if way != "cached" else None
                    job = Job(way, batch, given.chunk, given.steps, folder, given.threads)
                    found = reason or run_cell(job)
                    sys.stderr.write(f"round {turn + 1}: {way} {batch}: {found}\n")
                    if isinstance(found, str):
                        reasons[way, batch] = found
                        continue
                    cells.setdefault((way, batch), []).append(found)
                    if way == "loop":
                        peaks[batch] = found["peak_mb"]
    print(f"{parameters / 1e6:.1f} M parameters, chunks of {given.chunk} sides, {given.rounds} rounds\n")
    print(table(cells, reasons) + "\n")
    verdicts = goals(cells, batches[0], batches[-1])
    for text, met in verdicts:
        print(f"{'–' if met is None else 'met' if met else 'MISSED'}: {text}")
    if given.out:
        rows = [row for rounds in cells.values() for row in rounds]
        given.out.write_text(
            json.dumps({"parameters": parameters, "cells": rows}, indent=1), encoding="utf-8"
        )
    return 0 if all(met is not False for _, met in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
