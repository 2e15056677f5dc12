"""Stage 1, the cold start (paper, section 3.3, equations 1 to 4), on all processes that torchrun starts.

A step: one batch of N pairs, by default of one source; both sides go through the model; the states at
``<disc_emb>`` and ``<gen_emb>`` of all ranks feed the two InfoNCE losses, the completions the next-token
loss.

Departures: see ``losses`` and ``contrast``; optimiser, schedule and weights are options, the official ones
being the recipe ``ume``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import get_preset
from ume_r1_trainer.collate import Collator, SideBatch
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.corpus import Corpus
from ume_r1_trainer.embedder import Encoded
from ume_r1_trainer.evaluate import Held, held_out
from ume_r1_trainer.feed import Batch, Feed
from ume_r1_trainer.optimizer import lr_factor
from ume_r1_trainer.plot import plot_log
from ume_r1_trainer.ranks import Ranks, find_ranks
from ume_r1_trainer.scheduled import in_own_words
from ume_r1_trainer.start import Start
from ume_r1_trainer.step import Objective

logger = logging.getLogger(__name__)

FREE = ("output", "data", "media_root", "threads", "chunk_size", "save_every", "log_every")
"""Options that a resumed run may have otherwise: places, and what no gradient depends on."""


class Sft:
    """One run: its model, data and state.

    Attributes:
        config: the options.
        step: steps done.
        ranks: the processes of the run.
        engine: what moves the weights.
        feed: the batches.
    """

    def __init__(self, config: SftConfig, ranks: Ranks | None = None, progress: bool = False) -> None:
        """Loads or builds the model, and resumes where the output directory holds a state.

        Raises:
            ConfigError: the output directory holds a run with other options.
            DataFault: rows of the data cannot be used.
        """
        self.config = config
        self.ranks = ranks or find_ranks()
        if config.threads:
            torch.set_num_threads(config.threads)
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.corpus = Corpus(config.data, config.media_root or None)
        with self.ranks.in_turn():
            self.corpus.prepare(self.output, config.faults, config.traces, progress and self.ranks.first)
        preset = get_preset(config.preset)
        held = held_out(self.corpus, config, self.ranks)
        start = Start(config, self.ranks)
        with self.ranks.in_turn():
            self._check_options(self.ranks.first)
            start.write(self.corpus)
        self.processor, self.engine = start.load()
        tokenizer = self.processor.tokenizer
        vocabulary = start.net.config.get_text_config().vocab_size
        self._fixed = torch.zeros(vocabulary, dtype=torch.bool, device=self.ranks.device)
        self._fixed[list(tokenizer.added_tokens_decoder)] = True
        self._start, self.model = start, start.net
        self.collate = self._collator(self.corpus, preset)
        self.feed = Feed(self.corpus, self.collate, config, self.ranks)
        self.objective = Objective(self.ranks, config.temperature, config.symmetric, config.traces)
        self._held = None
        if held is not None:
            self._held = Held(held, self._collator(held, preset), config, self.objective)
        self.step = self.engine.load(self.output) or 0
        if self.step:
            logger.info("resumed %s at step %s", self.output, self.step)

    def train(self, stop_at: int | None = None, progress: bool = True) -> Path:
        """Trains to the end (or to ``stop_at`` steps) and returns the final checkpoint's directory."""
        config, first = self.config, self.ranks.first
        end = min(config.steps, stop_at or config.steps)
        began = time.monotonic()
        if first:
            self._cut_log()
        show = progress and first
        with tqdm(total=config.steps, initial=self.step, disable=not show, unit="step") as bar:
            for batch in self.feed.steps(self.step, end):
                figures = self.train_step(batch)
                self.step += 1
                bar.update()
                last = self.step == end
                if self.step % config.log_every == 0 or last:
                    figures |= {"step": self.step, "seconds": round(time.monotonic() - began, 2)}
                    self._log("log.jsonl", figures)
                    bar.set_postfix({k: figures[k] for k in ("ce", "disc", "gen") if k in figures})
                if self._held is not None and (
                    self.step % config.eval_every == 0 or self.step == config.steps
                ):
                    self._evaluate()
                if self.step % config.save_every == 0 or last:
                    self.engine.save(self.output, self.step)
        if self.step < config.steps:
            return self.output
        if first:
            plot_log(self.output / "log.jsonl", self.output / "loss.png")
        return self.save_checkpoint("final")

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """Makes one optimiser step and returns its figures."""
        config = self.config
        figures: dict[str, Any] = self.gradient(batch)
        factor = lr_factor(
            self.step, config.steps, config.warmup, config.lr_knots, config.schedule == "cosine"
        )
        norm = self.engine.step(factor)
        figures = {name: round(value, 4) for name, value in figures.items()}
        return figures | {"norm": round(norm, 3), "lr": factor, "source": batch.sides.source}

    def gradient(self, batch: Batch) -> dict[str, float]:
        """Adds a batch's gradient to the parameters' and returns its losses and in-batch accuracies."""
        config = self.config
        phase = config.phases[config.phase(self.step)]
        share, passes = phase.get("own_words", 0.0), phase.get("passes", 1)
        # Functions of the step, so that a resumed run draws as one that never stopped.
        torch.manual_seed(config.seed + self.step * self.ranks.size + self.ranks.rank)
        draw = torch.Generator().manual_seed(config.seed + self.step)
        chosen = torch.rand(len(batch.sides.all), generator=draw) < share
        read = self.objective.on_device(batch)

        def own_words(chunk: Sequence[int]) -> SideBatch:
            sides = chosen[list(chunk)].to(self.ranks.device)
            with self._autocast():
                return in_own_words(self.model, read(chunk), sides, passes, self._fixed)

        weights = config.weights(self.step)
        return self.objective.learn(
            batch, weights, self._encode, self.engine.backward, own_words if share else read
        )

    def save_checkpoint(self, name: str) -> Path:
        """Writes the model and its processor as a checkpoint and returns its directory."""
        self._start.save(self.engine, self.output / name)
        return self.output / name

    def _encode(self, batch: SideBatch, with_ce: bool) -> Encoded:
        with self._autocast():
            encoded: Encoded = self.engine.model(batch, with_ce)
        return encoded

    def _autocast(self) -> AbstractContextManager[Any]:
        # DeepSpeed computes in bfloat16 by itself.
        if self.config.dtype == "bfloat16" and not self.config.deepspeed:
            return torch.autocast(self.ranks.device.partition(":")[0], torch.bfloat16)
        return nullcontext()

    def _collator(self, corpus: Corpus, preset: Any) -> Collator:
        config = self.config
        return Collator(self.processor, preset, corpus.root, config.traces, config.max_length or None)

    def _evaluate(self) -> None:
        assert self._held is not None  # noqa: S101 -- for the type checker
        self.engine.model.eval()
        figures = self._held.figures(self._encode)
        self.engine.model.train()
        self._log(
            "eval.jsonl", {name: round(value, 4) for name, value in figures.items()} | {"step": self.step}
        )
        best = self.output / "best.json"
        before = json.loads(best.read_text(encoding="utf-8")) if best.exists() else None
        if before is None or self._held.better(figures, before):
            self.save_checkpoint("best")
            if self.ranks.first:
                best.write_text(json.dumps(figures | {"step": self.step}, indent=1), encoding="utf-8")
        self.ranks.barrier()

    def _log(self, name: str, figures: dict[str, Any]) -> None:
        if self.ranks.first:
            with (self.output / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")

    def _cut_log(self) -> None:
        # What a killed run logged after it last saved comes again.
        for name in ("log.jsonl", "eval.jsonl"):
            path = self.output / name
            if not path.exists():
                continue
            rows = path.read_text(encoding="utf-8").splitlines()
            kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= self.step]
            path.write_text("".join(row + "\n" for row in kept), encoding="utf-8")

    def _check_options(self, write: bool) -> None:
        # A run resumed with other options would be neither; where it is written may change.
        path = self.output / "config.json"
        mine = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in FREE}
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            # An option that an earlier version did not have was at its default.
            usual = {f.name: f.default for f in dataclasses.fields(self.config)}
            usual["lora"] = {}
            changed = sorted(k for k in mine if before.get(k, usual[k]) != mine[k])
            if changed and self._start_of_state():
                raise ConfigError(
                    f"{self.output} holds a run with other options ({', '.join(changed)}): "
                    "use another output directory, or the same options to resume"
                )
        if write:
            path.write_text(json.dumps(mine, indent=1), encoding="utf-8")

    def _start_of_state(self) -> bool:
        from ume_r1_trainer.engine import SHARDS, STATE

        return (self.output / STATE).exists() or (self.output / SHARDS / "latest").exists()
