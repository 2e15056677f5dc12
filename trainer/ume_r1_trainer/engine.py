"""Who moves the weights: torch by itself, or DeepSpeed with the model in parts. The step above knows neither.

Both take ``backward`` any number of times and then one ``step``. DeepSpeed's ``no_sync`` does not go with
ZeRO-2 and 3; its manual boundary does the same.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.embedder import Embedder
from ume_r1_trainer.ranks import Ranks

logger = logging.getLogger(__name__)

STATE = "state.pt"
SHARDS = "deepspeed"


class Engine(Protocol):
    """Moves the weights of an embedder."""

    model: nn.Module
    """What to call: an ``Embedder``, or what DeepSpeed made of it."""

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds a scalar's gradient; the mean over ranks counts."""

    def gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and full gradient of each parameter, after the last backward and before ``step``."""

    def step(self, factor: float) -> float:
        """Moves the weights by the learning rate times a factor and returns the gradient's norm."""

    def save(self, output: Path, step: int) -> None:
        """Writes what a run needs to go on; whatever was there stays whole until this is."""

    def load(self, output: Path) -> int | None:
        """Reads what ``save`` wrote and returns its step, or None if there is nothing."""

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and whole value of each parameter, one at a time.

        Collective: all ranks must ask, equally often and to the end; one that asks more waits for ever.
        """


class PlainEngine:
    """Torch alone: every rank holds the model, gradients are averaged."""

    def __init__(
        self, embedder: Embedder, optimizers: list[torch.optim.Optimizer], clip: float, ranks: Ranks
    ) -> None:
        """Takes the model and its optimisers."""
        self.model: nn.Module = embedder
        self._net, self._optimizers, self._clip, self._ranks = embedder.net, optimizers, clip, ranks
        self._base_lrs = [group["lr"] for o in optimizers for group in o.param_groups]

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds a scalar's gradient; after the last one the ranks share theirs."""
        loss.backward()
        if last:
            self._ranks.mean_gradients(p for p in self.model.parameters() if p.requires_grad)

    def gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and gradient of each parameter."""
        for name, parameter in self._net.named_parameters():
            if parameter.grad is not None:
                yield name, parameter.grad

    def step(self, factor: float) -> float:
        """Clips and moves."""
        groups = [group for o in self._optimizers for group in o.param_groups]
        for group, base in zip(groups, self._base_lrs, strict=True):
            group["lr"] = base * factor
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return float(norm)

    def save(self, output: Path, step: int) -> None:
        """Writes ``state.pt`` and replaces the last one by it."""
        if self._ranks.first:
            state = {
                "step": step,
                "model": self._net.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            }
            partial = output / f"{STATE}.part"
            torch.save(state, partial)
            partial.replace(output / STATE)
        self._ranks.barrier()

    def load(self, output: Path) -> int | None:
        """Reads ``state.pt``."""
        if not (output / STATE).exists():
            return None
        state = torch.load(output / STATE, map_location=self._ranks.device, weights_only=True)
        self._net.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return int(state["step"])

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and value of each parameter."""
        for name, parameter in self._net.named_parameters():
            yield name, parameter.detach()


class DeepspeedEngine:
    """ZeRO: gradients and optimiser state (2), and the parameters (3), in parts on the ranks."""

    def __init__(
        self,
        embedder: Embedder,
        optimizers: list[torch.optim.Optimizer],
        options: Mapping[str, Any],
        ranks: Ranks,
    ) -> None:
        """Hands the model over.

        Raises:
            ConfigError: there is more than one optimiser.
        """
        import deepspeed

        if len(optimizers) != 1:
            raise ConfigError("deepspeed= goes with optimizer=adamw: Muon needs whole matrices")
        self._net, self._ranks = embedder.net, ranks
        self._base_lrs = [group["lr"] for group in optimizers[0].param_groups]
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=embedder, optimizer=optimizers[0], config=dict(options)
        )
        self.model: nn.Module = self._engine

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds a scalar's gradient to this rank's parts."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and full gradient of each parameter; a collective call under ZeRO."""
        from deepspeed.utils import safe_get_full_grad

        for name, parameter in self._net.named_parameters():
            if parameter.requires_grad and (gradient := safe_get_full_grad(parameter)) is not None:
                yield name, gradient

    def step(self, factor: float) -> float:
        """Clips and moves."""
        for group, base in zip(self._optimizer.param_groups, self._base_lrs, strict=True):
            group["lr"] = base * factor
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def save(self, output: Path, step: int) -> None:
        """Writes a folder of parts; only when it is whole do the earlier ones go."""
        folder = output / SHARDS
        self._engine.save_checkpoint(str(folder), tag=f"step-{step}", client_state={"step": step})
        self._ranks.barrier()
        if self._ranks.first:
            for old in folder.glob("step-*"):
                if old.name != f"step-{step}":
                    shutil.rmtree(old)
        self._ranks.barrier()

    def load(self, output: Path) -> int | None:
        """Reads the folder that ``latest`` names."""
        if not (output / SHARDS / "latest").exists():
            return None
        _, client = self._engine.load_checkpoint(str(output / SHARDS))
        return int(client["step"])

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and whole value of each parameter; one at a time, so that ZeRO-3's never meet."""
        import deepspeed

        for name, parameter in self._net.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                yield name, parameter.detach()


def deepspeed_options(name: str, clip: float, bf16: bool, batch: int, ranks: Ranks) -> dict[str, Any]:
    """Returns a DeepSpeed configuration with what the run decides filled in.

    Args:
        name: ``"zero2"``, ``"zero3"``, or a JSON file; keys that it leaves ``"auto"`` are filled in.
        clip: largest gradient norm.
        bf16: compute in bfloat16.
        batch: pairs a step on all ranks; DeepSpeed wants a number of samples and does nothing else with it.
        ranks: the processes.

    Raises:
        ConfigError: there is no such configuration.
    """
    shipped = resources.files("ume_r1_trainer") / "deepspeed" / f"{name}.json"
    source = Path(name) if Path(name).suffix == ".json" else shipped
    if not source.is_file():
        raise ConfigError(f"deepspeed={name!r} is unknown: use zero2, zero3 or a .json file")
    options: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    options |= {
        "train_micro_batch_size_per_gpu": batch // ranks.size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip,
        "bf16": {"enabled": bf16},
    }
    options.pop("train_batch_size", None)
    return options


def prepare_deepspeed(ranks: Ranks) -> None:
    """Joins DeepSpeed's own process group, also for one process, before a model is made in parts."""
    import deepspeed
    from torch.utils.cpp_extension import get_default_build_root

    if ranks.device == "cpu":
        drop_stale_lock(Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()))
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
    for name, value in alone.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", "0" if ranks.size == 1 else "29500")
    deepspeed.init_distributed("nccl" if ranks.device != "cpu" else "gloo", verbose=False)


def drop_stale_lock(root: Path, older_than_s: float = 900.0) -> bool:
    """Removes the lock that a killed start left where DeepSpeed's operator for CPUs is built.

    Whoever finds it waits for ever, without a word; a build takes about a minute.

    Args:
        root: where torch builds extensions.
        older_than_s: age from which a lock is nobody's.

    Returns:
        Whether there was one.
    """
    stale = False
    for lock in root.glob("*/deepspeed_shm_comm/lock"):
        if time.time() - lock.stat().st_mtime > older_than_s:
            logger.warning("removing %s, which a killed run left", lock)
            lock.unlink(missing_ok=True)
            stale = True
    return stale
