"""Stage 1, the cold start on one machine (paper, section 3.3, equations 1 to 4).

A step: one same-source batch of N pairs; both sides go through the model once; the states at ``<disc_emb>``
and ``<gen_emb>`` feed the two InfoNCE losses, the completions the next-token loss.

Departures: see ``losses``; optimiser, schedule and weights are options, the official ones being AdamW
5e-5, cosine, and 1:1:1.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import get_preset
from ume_r1_trainer import nano
from ume_r1_trainer.collate import Collator, SideBatch
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.losses import IGNORE, info_nce, next_token
from ume_r1_trainer.optimizer import lr_factor, make_optimizers
from ume_r1_trainer.plot import plot_log
from ume_r1_trainer.records import Pair, RecordFile
from ume_r1_trainer.sampler import SourceSampler
from ume_r1_trainer.scheduled import in_own_words

logger = logging.getLogger(__name__)

STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Both sides of a step's pairs.

    Attributes:
        source: the data set they come from.
        query: the queries.
        positive: their targets.
        same: ``(N, N)`` bool, True where two pairs have the same target.
    """

    source: str
    query: SideBatch
    positive: SideBatch
    same: torch.Tensor


def same_targets(pairs: list[Pair]) -> torch.Tensor:
    """Returns ``(N, N)`` bool: whether two pairs' targets, or their queries, are the same input."""
    sides = [
        (
            (p.positive.text, p.positive.images, p.positive.frames),
            (p.query.text, p.query.images, p.query.frames),
        )
        for p in pairs
    ]
    return torch.tensor([[t == u or q == r for u, r in sides] for t, q in sides])


def forward(model: nn.Module, batch: SideBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the disc and gen vectors, ``(B, D)`` each and L2-normalised, and the next-token loss."""
    states = model.model(**batch.model_inputs).last_hidden_state  # type: ignore[operator]
    rows = torch.arange(len(states), device=states.device)
    # The head is applied to the completion alone; it is most of a small model's cost otherwise.
    first = int((batch.labels != IGNORE).int().argmax(-1).min()) - 1
    loss = next_token(model.lm_head(states[:, first:]), batch.labels[:, first:])  # type: ignore[operator]
    disc = F.normalize(states[rows, batch.disc].float(), dim=-1)
    gen = F.normalize(states[rows, batch.gen].float(), dim=-1)
    return disc, gen, loss


class Sft:
    """One run: its model, data and state.

    Attributes:
        config: the options.
        step: steps done.
    """

    def __init__(self, config: SftConfig) -> None:
        """Loads or builds the model, and resumes where the output directory holds a state.

        Raises:
            ConfigError: the output directory holds a run with other options.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.config = config
        self.step = 0
        if config.threads:
            torch.set_num_threads(config.threads)
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        data = Path(config.data)
        self.records = RecordFile(data / "UME-sft-train.jsonl" if data.is_dir() else data)
        start = Path(config.model) if config.model else self.output / "start"
        if not config.model and not (start / "model.safetensors").exists():
            scratch = dict(config.scratch)
            nano.build(start, self.records, scratch.pop("vocab_size"), scratch, config.seed)
        # A directory of safetensors: never a pickle, never whatever a hub's head is today.
        self.processor = AutoProcessor.from_pretrained(start, local_files_only=True)
        self.model = AutoModelForImageTextToText.from_pretrained(
            start, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device).train()
        if config.freeze_vision:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad = "visual" not in name or "merger" in name
        self.optimizers = make_optimizers(
            self.model, config.optimizer, config.lr, config.muon_lr, config.weight_decay
        )
        self._base_lrs = [group["lr"] for o in self.optimizers for group in o.param_groups]
        tokenizer = self.processor.tokenizer
        vocabulary = self.model.config.get_text_config().vocab_size
        self._fixed = torch.zeros(vocabulary, dtype=torch.bool, device=self.device)
        self._fixed[list(tokenizer.added_tokens_decoder)] = True
        self.collate = Collator(self.processor, get_preset(config.preset), self.records.path.parent)
        self.samplers = [self._sampler(phase) for phase in range(len(config.phases))]
        self._check_options()
        self._resume()

    def batch(self, step: int) -> PairBatch:
        """Returns the batch of a step; a function of the step and the seed alone."""
        source, rows = self.samplers[self.config.phase(step)].batch(step)
        pairs = [self.records[row] for row in rows]
        return PairBatch(
            source,
            self.collate([pair.query for pair in pairs]),
            self.collate([pair.positive for pair in pairs]),
            same_targets(pairs),
        )

    def train(self, stop_at: int | None = None, progress: bool = True) -> Path:
        """Trains to the end (or to ``stop_at`` steps) and returns the final checkpoint's directory."""
        end = min(self.config.steps, stop_at or self.config.steps)
        log = (self.output / "log.jsonl").open("a", encoding="utf-8")
        began = time.monotonic()
        with log, tqdm(total=self.config.steps, initial=self.step, disable=not progress, unit="step") as bar:
            for batch in self._batches(self.step, end):
                figures = self.train_step(batch)
                self.step += 1
                bar.update()
                if self.step % self.config.log_every == 0 or self.step == end:
                    figures |= {"step": self.step, "seconds": round(time.monotonic() - began, 2)}
                    log.write(json.dumps(figures) + "\n")
                    log.flush()
                    bar.set_postfix(ce=figures["ce"], disc=figures["disc"], gen=figures["gen"])
                if self.step % self.config.save_every == 0 or self.step == end:
                    self._save_state()
        if self.step < self.config.steps:
            return self.output
        plot_log(self.output / "log.jsonl", self.output / "loss.png")
        return self.save_checkpoint()

    def train_step(self, batch: PairBatch) -> dict[str, Any]:
        """Makes one optimiser step and returns its figures."""
        config = self.config
        factor = lr_factor(self.step, config.steps, config.warmup, config.lr_knots)
        groups = [group for o in self.optimizers for group in o.param_groups]
        for group, base in zip(groups, self._base_lrs, strict=True):
            group["lr"] = base * factor
        losses = self.losses(batch)
        weights = config.weights(self.step)
        # A weight of 0 leaves the loss out, so that a loss that is not yet finite cannot spoil the sum.
        torch.stack([w * losses[name] for name, w in weights.items() if w]).sum().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        figures: dict[str, Any] = {name: round(loss.item(), 4) for name, loss in losses.items()}
        return figures | {"norm": round(float(norm), 3), "lr": factor, "source": batch.source}

    def losses(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Returns the three losses and both in-batch accuracies of a batch."""
        config = self.config
        autocast = (
            torch.autocast(self.device, torch.bfloat16) if config.dtype == "bfloat16" else nullcontext()
        )
        phase = config.phases[config.phase(self.step)]
        share, passes = phase.get("own_words", 0.0), phase.get("passes", 1)
        # A function of the step, so that a resumed run draws as one that never stopped.
        draw = torch.Generator().manual_seed(config.seed + self.step)
        sides = [self._to_device(batch.query), self._to_device(batch.positive)]
        with autocast:
            if share:
                sides = [in_own_words(self.model, side, share, passes, self._fixed, draw) for side in sides]
            query_disc, query_gen, query_ce = forward(self.model, sides[0])
            target_disc, target_gen, target_ce = forward(self.model, sides[1])
        same = batch.same.to(self.device)
        tau, symmetric = config.temperature, config.symmetric
        gold = torch.arange(len(same), device=self.device)
        return {
            "ce": query_ce + target_ce,
            "disc": info_nce(query_disc, target_disc, tau, same, symmetric),
            "gen": info_nce(query_gen, target_gen, tau, same, symmetric),
            "disc_hit": ((query_disc @ target_disc.T).argmax(-1) == gold).float().mean().detach(),
            "gen_hit": ((query_gen @ target_gen.T).argmax(-1) == gold).float().mean().detach(),
        }

    def save_checkpoint(self) -> Path:
        """Writes the model and its processor as a checkpoint and returns its directory."""
        from transformers import AutoModelForImageTextToText

        directory = self.output / "final"
        state = {k: v.to(getattr(torch, self.config.save_dtype)) for k, v in self.model.state_dict().items()}
        model = AutoModelForImageTextToText.from_config(self.model.config).to(
            getattr(torch, self.config.save_dtype)
        )
        model.load_state_dict(state)
        model.generation_config = self.model.generation_config
        model.save_pretrained(directory)
        self.processor.save_pretrained(directory)
        return directory

    def _sampler(self, phase: int) -> SourceSampler:
        # Phases of the same sources share one order, so that the second goes on where the first stopped.
        sources = [own.get("sources", self.config.source_weights) for own in self.config.phases]
        return SourceSampler(
            self.records.datasets,
            self.config.batch_size,
            self.config.block_size,
            self.config.seed + sources.index(sources[phase]),
            sources[phase],
        )

    def _batches(self, start: int, end: int) -> Iterator[PairBatch]:
        # One thread ahead: decoding and patching overlap with the step that runs.
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self.batch, step) for step in range(start, min(start + 2, end))]
            for step in range(start, end):
                batch = ahead.pop(0).result()
                if step + 2 < end:
                    ahead.append(pool.submit(self.batch, step + 2))
                yield batch

    def _to_device(self, batch: SideBatch) -> SideBatch:
        inputs = {k: v.to(self.device) for k, v in batch.model_inputs.items()}
        return SideBatch(inputs, *(x.to(self.device) for x in (batch.labels, batch.disc, batch.gen)))

    def _check_options(self) -> None:
        # A run resumed with other options would be neither; where it is written may change.
        path = self.output / "config.json"
        mine = {
            k: v for k, v in dataclasses.asdict(self.config).items() if k not in ("output", "data", "threads")
        }
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(k for k in mine if before.get(k) != mine[k])
            if changed and (self.output / STATE).exists():
                raise ConfigError(
                    f"{self.output} holds a run with other options ({', '.join(changed)}): "
                    "use another output directory, or the same options to resume"
                )
        path.write_text(json.dumps(mine, indent=1), encoding="utf-8")

    def _save_state(self) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.output / f"{STATE}.part"
        torch.save(state, partial)
        partial.replace(self.output / STATE)

    def _resume(self) -> None:
        path = self.output / STATE
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        logger.info("resumed %s at step %s", self.output, self.step)
