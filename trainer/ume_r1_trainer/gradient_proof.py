"""Shows that cached gradients are the full batch's: ``python -m ume_r1_trainer.gradient_proof``.

Under ``torchrun`` for several ranks. In float32, without dropout, before clipping, every parameter's full
gradient (under ZeRO from DeepSpeed's accessor) is compared with that of a reference which shares nothing with
the step but the mask of false negatives: one plain forward of all queries and one of all targets on this
process, with the library's logits, equation 4, ``backward``. The error is the greatest norm of a difference
over the greatest norm of a gradient; goal: 1e-5.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.contrast import same_targets
from ume_r1_trainer.losses import IGNORE
from ume_r1_trainer.made_records import write_records
from ume_r1_trainer.ranks import Ranks, find_ranks
from ume_r1_trainer.sft import Sft

GOAL = 1e-5

SCRATCH = {
    "vocab_size": 400,
    "hidden": 32,
    "layers": 2,
    "heads": 1,
    "kv_heads": 1,
    "intermediate": 64,
    "vision": 32,
    "vision_depth": 1,
    "vision_heads": 1,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        ranks: how many processes.
        engine: ``plain``, ``zero2`` or ``zero3``.
        chunk: sides that go through the model at once; 0 for a whole side of the batch.
        parameters: how many tensors were compared.
        error: greatest norm of a difference, over the greatest norm of a gradient.
    """

    ranks: int
    engine: str
    chunk: int
    parameters: int
    error: float

    @property
    def met(self) -> bool:
        """Whether the error is within the goal."""
        return self.error <= GOAL


def reference(run: Sft) -> dict[str, torch.Tensor]:
    """Returns the gradients of step 0's batch of all ranks, from one plain forward of each side."""
    corpus, config = run.corpus, run.config
    pairs = [corpus[row] for row in run.feed.rows(0)[1]]
    negatives = [pair.negatives[0] for pair in pairs if pair.negatives]
    sides = ([p.query for p in pairs], [*(p.positive for p in pairs), *negatives])
    model = _whole_copy(run)
    vectors, ce = [], torch.zeros(())
    for group in sides:
        batch = run.collate(group)
        out = model(**batch.model_inputs, output_hidden_states=True)
        states, rows = out.hidden_states[-1], torch.arange(len(group))
        vectors.append([F.normalize(states[rows, at], dim=-1) for at in (batch.disc, batch.gen)])
        own = slice(0, len(pairs))
        labels = batch.labels[own, 1:]
        logits = out.logits[own, :-1]
        ce = ce + F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    keys = [torch.tensor([hash(side.key) for side in group]) for group in sides]
    wrong = same_targets(keys[0], keys[1])
    wrong[torch.arange(len(pairs)), torch.arange(len(pairs))] = False
    loss = ce
    for query, target in zip(*vectors, strict=True):
        scores = (query @ target.T / config.temperature).masked_fill(wrong, float("-inf"))
        forth = -scores.log_softmax(1).diagonal().mean()
        back = -scores[:, : len(pairs)].log_softmax(0).diagonal().mean()
        loss = loss + (forth + back) / 2
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def compare(run: Sft, truth: Mapping[str, torch.Tensor], engine: str) -> Row:
    """Makes the step's gradient and returns how far it is from the true one."""
    run.gradient(run.feed.batch(0))
    found = {name: gradient.detach().float().cpu().clone() for name, gradient in run.engine.gradients()}
    if found.keys() != truth.keys():
        raise RuntimeError(f"gradients of other parameters: {sorted(found.keys() ^ truth.keys())}")
    largest = max(float(gradient.norm()) for gradient in truth.values())
    error = max(float((found[name] - gradient).norm()) for name, gradient in truth.items())
    return Row(run.ranks.size, engine, run.config.chunk_size, len(found), error / largest)


def prove(folder: Path, engine: str, chunks: Sequence[int], ranks: Ranks, pairs: int = 8) -> list[Row]:
    """Returns a comparison for each size of chunk, of a random model on made records with hard negatives."""
    with ranks.in_turn():
        write_records(folder / "records", pairs=2 * pairs, negatives=True)
    rows = []
    for chunk in chunks:
        config = SftConfig(
            data=str(folder / "records"),
            output=str(folder / f"{engine}-{chunk}"),
            scratch=SCRATCH,
            preset="serving",
            steps=1,
            batch_size=pairs,
            chunk_size=chunk,
            deepspeed="" if engine == "plain" else engine,
            # With a temperature of 0.02 a random model's gradients are noise of the size of the losses.
            temperature=0.1,
            threads=1,
        )
        run = Sft(config, ranks)
        rows.append(compare(run, reference(run), engine))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Returns the comparisons as Markdown."""
    lines = [
        "| ranks | engine | sides at once | gradients | greatest error / greatest norm | ≤ 1e-5 |",
        "| ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        verdict = "met" if row.met else "MISSED"
        cells = (row.ranks, row.engine, row.chunk or "all", row.parameters, f"{row.error:.1e}", verdict)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _whole_copy(run: Sft) -> torch.nn.Module:
    from transformers import AutoModelForImageTextToText

    path = run.output / "start"
    model: torch.nn.Module = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).train()
    return model


def main() -> int:
    """Prints the table of this many ranks and returns 0 if every goal is met."""
    parser = argparse.ArgumentParser(description="Cached gradients against the full batch's.")
    parser.add_argument("--engines", default="plain", help="of plain,zero2,zero3 (default: plain)")
    parser.add_argument("--chunks", default="3,0", help="sides at once, 0 for all (default: 3,0)")
    parser.add_argument(
        "--folder", type=Path, help="shared by the ranks (default: a fresh one, for one rank)"
    )
    parser.add_argument("--out", type=Path, help="append the rows to this JSONL file")
    given = parser.parse_args()
    ranks = find_ranks()
    if given.folder is None and ranks.size > 1:
        parser.error("several ranks need one --folder")
    chunks = [int(chunk) for chunk in given.chunks.split(",")]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as fresh:
        for engine in given.engines.split(","):
            rows += prove(given.folder or Path(fresh), engine, chunks, ranks)
    if ranks.first:
        sys.stdout.write(table(rows) + "\n")
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                for row in rows:
                    values = {name: getattr(row, name) for name in Row.__slots__}
                    file.write(json.dumps(values) + "\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
