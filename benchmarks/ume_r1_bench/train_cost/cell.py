"""One measurement in a process of its own: ``python -m ume_r1_bench.train_cost.cell``, a JSON line out."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured.

    Attributes:
        way: ``loop`` (plain transformers), ``whole`` (our step, graphs kept) or ``cached``.
        batch: pairs a step.
        chunk: sides at once, of ``cached``.
        steps: timed steps, after one that is not.
        folder: holds ``records`` and ``model``.
        threads: of torch.
    """

    way: str
    batch: int
    chunk: int
    steps: int
    folder: str
    threads: int


def measure(job: Job) -> dict[str, Any]:
    """Returns pairs a second by the clock and by the CPU, and the process's peak memory in MB."""
    import torch

    torch.set_num_threads(job.threads)
    step = _loop(job) if job.way == "loop" else _ours(job)
    step(0)
    wall, cpu = time.perf_counter(), time.process_time()
    losses = [step(number) for number in range(1, job.steps + 1)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    pairs = job.batch * job.steps
    return {
        "pairs_per_s": pairs / wall,
        "pairs_per_cpu_s": pairs / cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": losses[-1],
    }


def _loop(job: Job) -> Callable[[int], float]:
    from ume_r1_bench.train_cost.loop import PlainLoop
    from ume_r1_trainer.corpus import Corpus

    folder = Path(job.folder)
    corpus = Corpus(folder / "records")
    loop = PlainLoop(folder / "model", corpus.root, 0.02)
    count = len(corpus)

    def step(number: int) -> float:
        rows = ((number * job.batch + n) % count for n in range(job.batch))
        return loop.step([corpus[row] for row in rows])

    return step


def _ours(job: Job) -> Callable[[int], float]:
    import tempfile

    from ume_r1_trainer.config import SftConfig
    from ume_r1_trainer.ranks import Ranks
    from ume_r1_trainer.sft import Sft

    folder = Path(job.folder)
    config = SftConfig(
        data=str(folder / "records"),
        output=tempfile.mkdtemp(dir=folder),
        model=str(folder / "model"),
        preset="serving",
        steps=job.steps + 1,
        batch_size=job.batch,
        block_size=1,
        chunk_size=job.chunk if job.way == "cached" else 0,
        threads=job.threads,
    )
    run = Sft(config, Ranks())
    batches = run.feed.steps(0, job.steps + 1)

    def step(number: int) -> float:
        run.step = number
        figures = run.train_step(next(batches))
        return float(figures["ce"] + figures["disc"] + figures["gen"])

    return step


def main() -> None:
    """Measures the job that stands on the command line as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(asdict(job) | measure(job)) + "\n")


if __name__ == "__main__":
    main()
