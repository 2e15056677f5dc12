"""From options to a model that can be trained, and from that back to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ume_r1_rag.errors import CheckpointError, ConfigError
from ume_r1_trainer import backbone, nano
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.corpus import Corpus
from ume_r1_trainer.embedder import Embedder
from ume_r1_trainer.engine import (
    DeepspeedEngine,
    Engine,
    PlainEngine,
    deepspeed_options,
    prepare_deepspeed,
)
from ume_r1_trainer.optimizer import make_optimizers
from ume_r1_trainer.ranks import Ranks


class Start:
    """The checkpoint that a run starts from.

    Attributes:
        net: the Hugging Face model, with adapters in it if there are any, once it is loaded.
        path: its directory.
    """

    net: Any

    def __init__(self, config: SftConfig, ranks: Ranks) -> None:
        """Finds the checkpoint.

        Raises:
            CheckpointError: it is none that can be trained.
        """
        self._config, self._ranks = config, ranks
        self._own = Path(config.output) / "start"
        self.path = self._own
        if config.model:
            with ranks.in_turn():
                self._given = fetch(config.model)
            backbone.check_family(self._given)
            self.path = self._own if backbone.needs_markers(self._given) else self._given
        self._processor: Any = None

    def write(self, corpus: Corpus) -> None:
        """Makes what the run starts from, if it is no checkpoint as it stands; called by rank 0 first."""
        if self.path != self._own or (self._own / "model.safetensors.index.json").exists():
            return
        if (self._own / "model.safetensors").exists():
            return
        if self._config.model:
            backbone.write_with_markers(self._given, self._own)
            return
        sizes = dict(self._config.scratch)
        nano.build(self._own, corpus, sizes.pop("vocab_size"), sizes, self._config.seed)

    def load(self) -> tuple[Any, Engine]:
        """Returns the processor, and the engine around the model.

        Raises:
            ConfigError: options do not go together.
        """
        config, ranks = self._config, self._ranks
        options = None
        if config.deepspeed:
            self._check_deepspeed()
            bf16 = config.dtype == "bfloat16"
            options = deepspeed_options(config.deepspeed, config.clip, bf16, config.batch_size, ranks)
            prepare_deepspeed(ranks)
        # peft copies rows and takes norms of weights when it puts its adapters in, so it needs them whole.
        model, self._processor = _load_in_parts(self.path, None if config.lora else options)
        if config.freeze_vision:
            backbone.freeze_vision(model)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        if config.lora:
            backbone.add_lora(model, config.lora, self._processor.tokenizer, not config.freeze_vision)
        self.net = model.train()
        if options is None:
            model.to(ranks.device)
        optimizers = make_optimizers(
            model, config.optimizer, config.lr, config.muon_lr, config.weight_decay, config.adam_beta2
        )
        embedder = Embedder(model)
        if options is None:
            return self._processor, PlainEngine(embedder, optimizers, config.clip, ranks)
        return self._processor, DeepspeedEngine(embedder, optimizers, options, ranks)

    def save(self, engine: Engine, directory: Path) -> None:
        """Writes what was learned as a checkpoint of its own; adapters also as such, in ``adapter``."""
        dtype = getattr(torch, self._config.save_dtype)
        state: dict[str, torch.Tensor] = {}
        # All ranks hand in their parts, and equally often: one more look by a rank that keeps nothing would
        # wait for the others for ever. Rank 0 alone keeps the whole.
        for name, tensor in engine.tensors():
            if self._ranks.first:
                state[name] = tensor.to("cpu", dtype, copy=True)
        if self._ranks.first:
            self._write(state, directory, dtype)
        self._ranks.barrier()

    def _write(self, state: dict[str, torch.Tensor], directory: Path, dtype: torch.dtype) -> None:
        from transformers import AutoModelForImageTextToText

        model = AutoModelForImageTextToText.from_config(self.net.config).to(dtype)
        adapters = None
        if self._config.lora:
            vision = not self._config.freeze_vision
            adapters = backbone.add_lora(model, self._config.lora, self._processor.tokenizer, vision)
            adapters.to(dtype)
        missing, unknown = model.load_state_dict(state, strict=False)
        held = {name for name, _ in model.named_parameters()}
        if unknown or held & set(missing):
            raise CheckpointError(
                f"the model lost {sorted(held & set(missing))} and won {unknown}: report this"
            )
        if adapters is not None:
            adapters.save_pretrained(directory / "adapter")
            model = adapters.merge_and_unload()
        model.generation_config = self.net.generation_config
        model.save_pretrained(directory)
        self._processor.save_pretrained(directory)

    def _check_deepspeed(self) -> None:
        if any(phase.get("own_words") for phase in self._config.phases):
            raise ConfigError(
                "deepspeed= does not go with a phase's own_words, whose passes need a whole model"
            )


def fetch(name: str) -> Path:
    """Returns the directory of a checkpoint: a path, or ``id`` or ``id@commit`` of the Hugging Face hub.

    Raises:
        CheckpointError: there is none.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = name.partition("@")
    patterns = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"model={name!r} is no directory, and the hub did not give it: {error}. Download it where there "
            "is a network (ume-r1 download), and name its directory"
        ) from error


def _load_in_parts(path: Path, options: dict[str, Any] | None) -> tuple[nn.Module, Any]:
    """Returns model and processor; under ZeRO-3 no rank ever holds the whole model."""
    if options is None or options["zero_optimization"]["stage"] < 3:
        return backbone.load(path)
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    in_force = HfDeepSpeedConfig(options)
    try:
        return backbone.load(path)
    finally:
        # What is built after this, such as the copy that is saved, is whole again.
        unset_hf_deepspeed_config()
        del in_force
