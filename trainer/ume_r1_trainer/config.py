"""The options of the cold start, read from a recipe and overridden one by one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ume_r1_rag.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SftConfig:
    """Options of ``ume-r1 train sft``.

    Attributes:
        data: directory or file of records (``stream``).
        media_root: where media paths start; default the directory of the data.
        faults: ``"refuse"`` to start with rows that are malformed or whose media are missing, or
            ``"leave_out"`` these rows.
        output: where checkpoints, the log and the plot go.
        model: checkpoint to start from, or None to build one from scratch by ``scratch``.
        scratch: sizes of a model from scratch, see ``nano.make_config``; with ``vocab_size``.
        preset: whose pixel limits apply.
        steps: optimiser steps.
        batch_size: pairs a step on all ranks together, all from one source; each is a negative of each.
        sub_batch: where not 0, a batch is made of so many pairs from one source, so many from another, …
        block_size: neighbouring rows that stay in one batch.
        chunk_size: sides that go through the model at once (gradient caching); 0 for a whole batch. What fits
            into memory; it does not change the gradient.
        length_buckets: sides of like length share a chunk.
        hard_negatives: of each pair, where its record has any; each is a negative of every query.
        max_length: tokens of a side; a longer trace loses its middle. 0 for no limit.
        source_weights: relative frequency of each source, those left out being 0; default by size.
        temperature: of both contrastive losses.
        symmetric: average both directions of the contrastive losses.
        phases: weights of the three losses over the run, each phase from a share of the steps on:
            ``{"from": 0.0, "disc": 1.0, "gen": 1.0, "ce": 1.0}`` is equation 4. A phase may have
            ``sources``, which then stand in for ``source_weights``, and ``own_words``, the share of traces
            that are rewritten in the model's own words, in so many ``passes`` (see ``scheduled``).
        optimizer: ``"muon"`` or ``"adamw"``.
        lr: of AdamW.
        adam_beta2: of AdamW, its memory of squares.
        muon_lr: of Muon.
        weight_decay: of both.
        warmup: steps of linear warm-up.
        lr_knots: ``[share of the steps, factor of the learning rate]``, straight lines between them.
        schedule: ``"knots"``, or ``"cosine"`` from 1 to 0 after the warm-up.
        clip: largest gradient norm.
        freeze_vision: train the language model and the merger only, as officially.
        lora: options of ``peft.LoraConfig``; empty for full training.
        gradient_checkpointing: compute activations again in the backward instead of keeping them.
        deepspeed: ``"zero2"``, ``"zero3"`` or a JSON file; empty for none.
        holdout: share of each source that is held out, to choose the best checkpoint by.
        eval_data: directory or file of records to choose it by instead.
        eval_every: steps between evaluations; 0 for none.
        eval_batches: batches of an evaluation.
        eval_metric: ``"loss"`` (least, by the last phase's weights), ``"disc_hit"`` or ``"gen_hit"`` (most).
        dtype: of the computation, ``"float32"`` or ``"bfloat16"`` (autocast).
        save_dtype: of the final checkpoint.
        save_every: steps between resumable checkpoints.
        log_every: steps between log lines.
        seed: of the weights and the order.
        threads: CPU threads, 0 for torch's choice.
    """

    data: str
    output: str
    media_root: str = ""
    faults: str = "refuse"
    model: str | None = None
    scratch: dict[str, int] = field(default_factory=dict)
    preset: str = "paper"
    steps: int = 2000
    batch_size: int = 32
    sub_batch: int = 0
    block_size: int = 4
    chunk_size: int = 0
    length_buckets: bool = True
    hard_negatives: int = 1
    max_length: int = 0
    source_weights: dict[str, float] = field(default_factory=dict)
    temperature: float = 0.02
    symmetric: bool = True
    phases: list[dict[str, Any]] = field(
        default_factory=lambda: [{"from": 0.0, "disc": 1.0, "gen": 1.0, "ce": 1.0}]
    )
    optimizer: str = "adamw"
    lr: float = 5e-5
    adam_beta2: float = 0.95
    muon_lr: float = 4e-3
    weight_decay: float = 0.0
    warmup: int = 50
    lr_knots: list[list[float]] = field(default_factory=lambda: [[0.5, 1.0], [1.0, 0.0]])
    schedule: str = "knots"
    clip: float = 1.0
    freeze_vision: bool = False
    lora: dict[str, Any] = field(default_factory=dict)
    gradient_checkpointing: bool = False
    deepspeed: str = ""
    holdout: float = 0.0
    eval_data: str = ""
    eval_every: int = 0
    eval_batches: int = 8
    eval_metric: str = "loss"
    dtype: str = "float32"
    save_dtype: str = "bfloat16"
    save_every: int = 200
    log_every: int = 10
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        if (self.model is None) == (not self.scratch):
            raise ConfigError(
                "a run starts from a checkpoint (--model NAME) or from scratch= (sizes, as in the recipe "
                "nano): give one of the two"
            )
        for name, allowed in {
            "optimizer": ("adamw", "muon"),
            "dtype": ("float32", "bfloat16"),
            "save_dtype": ("float32", "bfloat16"),
            "schedule": ("knots", "cosine"),
            "faults": ("refuse", "leave_out"),
            "eval_metric": ("loss", "disc_hit", "gen_hit"),
        }.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} is unknown: use one of {', '.join(allowed)}"
                )
        for name in (
            "steps",
            "batch_size",
            "block_size",
            "save_every",
            "log_every",
            "warmup",
            "eval_batches",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("sub_batch", "chunk_size", "hard_negatives", "max_length", "eval_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 0")
        if self.temperature <= 0:
            raise ConfigError(f"temperature={self.temperature} must be positive")
        if self.sub_batch and self.batch_size % self.sub_batch:
            raise ConfigError(f"batch_size={self.batch_size} is no multiple of sub_batch={self.sub_batch}")
        self._check_held_out()
        self._check_phases()
        shares = [knot[0] for knot in self.lr_knots if len(knot) == 2]
        if not shares or len(shares) < len(self.lr_knots) or shares != sorted(shares):
            raise ConfigError(f"lr_knots={self.lr_knots} must be [share, factor] pairs in order of share")

    def _check_held_out(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ConfigError(f"holdout={self.holdout} is a share: from 0 to below 1")
        if self.holdout and self.eval_data:
            raise ConfigError("give either holdout= or eval_data=, not both")
        if bool(self.eval_every) != bool(self.holdout or self.eval_data):
            raise ConfigError(
                f"eval_every={self.eval_every} with holdout={self.holdout}, eval_data={self.eval_data!r}: "
                "an evaluation needs both how often and of what"
            )

    def _check_phases(self) -> None:
        starts = [phase.get("from", -1.0) for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise ConfigError(f"phases start at {starts}: the first at 0, the others in order")
        for phase in self.phases:
            if set(phase) - {"sources", "own_words", "passes"} != {"from", "disc", "gen", "ce"}:
                raise ConfigError(
                    f"phase {phase} needs from, disc, gen, ce; may have sources, own_words, passes"
                )
            if not 0 <= phase.get("own_words", 0) <= 1:
                raise ConfigError(f"own_words={phase['own_words']} is a share: from 0 to 1")
            if phase.get("passes", 1) < 1:
                raise ConfigError(f"passes={phase['passes']} must be at least 1")

    def phase(self, step: int) -> int:
        """Returns the number of the phase that a step is in."""
        return len([phase for phase in self.phases if phase["from"] * self.steps <= step]) - 1

    @property
    def traces(self) -> bool:
        """Whether any phase has a use for reasoning and summary."""
        return any(phase["ce"] or phase["gen"] for phase in self.phases)

    def weights(self, step: int) -> dict[str, float]:
        """Returns the weights of the losses at a step."""
        phase = self.phases[self.phase(step)]
        return {name: phase[name] for name in ("ce", "disc", "gen")}


def load_recipe(name: str, **overrides: Any) -> SftConfig:
    """Returns a recipe with overrides.

    Args:
        name: of a shipped recipe, or a path to a YAML file.
        **overrides: options that win over the recipe's; None is no override.

    Raises:
        ConfigError: there is no such recipe or it has an unknown option.
    """
    import yaml

    shipped = resources.files("ume_r1_trainer") / "recipes" / f"{name}.yaml"
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ConfigError(f"no recipe file at {name}")
        text = Path(name).read_text(encoding="utf-8")
    elif shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        raise ConfigError(f"recipe {name!r} is unknown: use a .yaml file or one of {', '.join(recipes())}")
    options = {**yaml.safe_load(text), **{k: v for k, v in overrides.items() if v is not None}}
    if overrides.get("model"):
        # Who names a checkpoint wants none from scratch.
        options.pop("scratch", None)
    known = {f.name for f in dataclasses.fields(SftConfig)}
    if unknown := sorted(set(options) - known):
        raise ConfigError(f"recipe {name!r} has unknown options: {', '.join(unknown)}")
    return SftConfig(**options)


def recipes() -> list[str]:
    """Returns the names of the shipped recipes."""
    folder = resources.files("ume_r1_trainer") / "recipes"
    return sorted(Path(str(f)).stem for f in folder.iterdir() if str(f).endswith(".yaml"))
