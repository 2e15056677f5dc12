"""How vLLM is to run a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ume_r1_rag.errors import ConfigError

Way = Literal["one-engine", "two-pass"]
"""How vectors are had: of the engine that generates, or of a second one that pools what the first wrote."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What is passed to vLLM; None leaves a choice to it.

    Attributes:
        way: ``"auto"`` takes one engine if the self-check on this machine allows it.
        tensor_parallel_size: GPUs that share one copy of the weights.
        data_parallel_size: copies of the weights.
        quantization: e.g. ``"fp8"``, of the weights.
        gpu_memory_utilization: share of a GPU's memory that is taken, of both engines together.
        kv_cache_dtype: of the KV cache; one engine needs it unquantised, because the states are kept there.
        max_model_len: the most tokens of a prompt and its completion.
        max_num_seqs: the most requests that are run at the same time.
        enforce_eager: no compilation: quicker to start, slower to run.
        deterministic: vLLM's batch-invariant mode: a vector does not depend on what runs beside it.
        in_process: run the engine in this process; default on a CPU, where three processes share few cores.
        start_timeout: seconds after which an engine in processes of its own that has not started is given up.
        silence_timeout: seconds after which an engine that gives no sign of life is given up, or one that
            sends no states after a completion.
        extra: any other of vLLM's engine arguments, by name.
    """

    way: Literal["auto", "one-engine", "two-pass"] = "auto"
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    quantization: str | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool = False
    deterministic: bool = False
    in_process: bool | None = None
    start_timeout: float = 1800.0
    silence_timeout: float = 600.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what cannot work.

        Raises:
            ConfigError: as it says.
        """
        if self.way not in ("auto", "one-engine", "two-pass"):
            raise ConfigError(f'way={self.way!r} is unknown: use "auto", "one-engine" or "two-pass"')
        for name in ("tensor_parallel_size", "data_parallel_size", "max_model_len", "max_num_seqs"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name}={value!r} must be a whole number of at least 1")
        for name in ("start_timeout", "silence_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ConfigError(f"{name}={value!r} must be a number of seconds above 0")
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise ConfigError(f"gpu_memory_utilization={share!r} must be above 0 and at most 1")
        if self.quantized_cache and self.way == "one-engine":
            raise ConfigError(
                f'kv_cache_dtype={self.kv_cache_dtype!r} with way="one-engine": the hidden states lie in the '
                'KV cache and cannot be quantised. Use kv_cache_dtype="auto", or way="two-pass"'
            )
        if self.in_process and self.tensor_parallel_size * self.data_parallel_size > 1:
            raise ConfigError("in_process=True needs tensor_parallel_size and data_parallel_size to be 1")

    @property
    def quantized_cache(self) -> bool:
        """Whether the KV cache is kept in fewer bits than the model computes in."""
        return self.kv_cache_dtype not in ("auto", "bfloat16", "float16")

    @classmethod
    def of(cls, values: VllmOptions | Mapping[str, Any] | None) -> VllmOptions:
        """Returns options from a mapping; names that are none of ours are ``extra``."""
        if isinstance(values, VllmOptions):
            return values
        given: dict[str, Any] = {} if values is None else dict(values)
        names = {one.name for one in fields(cls)}
        known = {name: value for name, value in given.items() if name in names}
        other = {name: value for name, value in given.items() if name not in names}
        known["extra"] = {**known.get("extra", {}), **other}
        return cls(**known)

    def as_dict(self) -> dict[str, Any]:
        """Returns all options, as JSON can hold them."""
        return {**asdict(self), "extra": {name: repr(value) for name, value in self.extra.items()}}
