"""vLLM's engine arguments for one engine that generates and hands out states, and for one that only pools."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ume_r1_rag.backends.vllm.states import ARCHITECTURE, PARAMS, register
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.template import Markers, VisualProcessor

_CPU_BLOCK = 32
"""Tokens of a page on a CPU, whose attention wants a multiple of it; vLLM takes 128, so fewer prefix hits."""

_CPU_CACHE = 4 * 2**30
"""Bytes of KV cache on a CPU, taken as they are used; vLLM would plan with nearly all of the memory."""

_IMAGE_CACHE_GB = 0.25
"""vLLM keeps the patches of images in case they come again; its 4 GB per process would be most of a nano."""


def on_cpu() -> bool:
    """Returns whether this vLLM runs on the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def device_name() -> str:
    """Returns what vLLM runs on, e.g. ``"cpu"`` or ``"NVIDIA L4"``."""
    from vllm.platforms import current_platform

    return str(current_platform.get_device_name())


def device_type() -> str:
    """Returns the kind of device, e.g. ``"cpu"`` or ``"cuda"``."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def runs_here(options: VllmOptions) -> bool:
    """Returns whether the engine is to run in this process."""
    if options.in_process is not None:
        return options.in_process
    if options.tensor_parallel_size * options.data_parallel_size > 1:
        return False
    return on_cpu() or os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"


def plugin_installed() -> bool:
    """Returns whether vLLM's other processes would find our model."""
    return any(
        one.value.startswith(register.__module__) for one in entry_points(group="vllm.general_plugins")
    )


def common(
    path: Path, options: VllmOptions, dtype: str, visual: VisualProcessor, share: float = 1.0
) -> dict[str, Any]:
    """Returns what every engine is started with.

    Args:
        path: of the checkpoint.
        options: the user's.
        dtype: e.g. ``"bfloat16"``.
        visual: whose pixel limits apply.
        share: of the memory that is meant for all engines together.

    Raises:
        ConfigError: an option cannot be had on this machine.
    """
    _deterministic(options)
    # vLLM reports what it runs to its makers unless it is told not to.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    limits = (visual.image_limits, visual.frame_limits)
    arguments: dict[str, Any] = {
        "model": str(path),
        "dtype": dtype,
        # A checkpoint's sampling settings are not ours; what ends a completion we say ourselves.
        "generation_config": "vllm",
        "seed": 0,
        "disable_log_stats": True,
        "enable_prefix_caching": True,
        # Images come in their final size, which this lets pass; vLLM plans its memory by the largest.
        "mm_processor_kwargs": {
            "size": {
                "shortest_edge": min(one.min_pixels for one in limits),
                "longest_edge": max(one.max_pixels for one in limits),
            }
        },
        "mm_processor_cache_gb": _IMAGE_CACHE_GB,
        "tensor_parallel_size": options.tensor_parallel_size,
        "data_parallel_size": options.data_parallel_size,
        "kv_cache_dtype": options.kv_cache_dtype,
        "enforce_eager": options.enforce_eager,
    }
    if on_cpu():
        arguments |= {"block_size": _CPU_BLOCK, "kv_cache_memory_bytes": int(_CPU_CACHE * share)}
    elif options.gpu_memory_utilization is not None or share < 1:
        arguments["gpu_memory_utilization"] = share * (options.gpu_memory_utilization or 0.9)
    if on_cpu() and not runs_here(options):
        arguments |= _cpu_processes(options)
    for name in ("quantization", "max_model_len", "max_num_seqs"):
        if getattr(options, name) is not None:
            arguments[name] = getattr(options, name)
    return {**arguments, **options.extra}


def our_model(in_process: bool) -> dict[str, Any]:
    """Returns what makes an engine take our model where it can be found, else nothing."""
    if in_process:
        register()
    elif not plugin_installed():
        return {}
    return {"hf_overrides": {"architectures": [ARCHITECTURE]}}


def with_states(layers: int, markers: Markers, address: str, in_process: bool) -> dict[str, Any]:
    """Returns what makes a generating engine send the states at the markers of each request.

    Args:
        layers: of the model; the states after the last one are had.
        markers: ids of the markers.
        address: of the ``Receiver``.
        in_process: whether the engine runs in this process.

    Raises:
        ConfigError: vLLM's processes would not find our model.
    """
    from vllm.config import KVTransferConfig

    model = our_model(in_process)
    if not model:
        raise ConfigError(
            "vLLM's processes cannot find ume-r1-rag's plugin, because the package is not installed but only "
            'on the path: pip install it, or use way="two-pass"'
        )
    return {
        **model,
        "speculative_config": {
            "method": "extract_hidden_states",
            "num_speculative_tokens": 1,
            "draft_model_config": {"hf_config": {"eagle_aux_hidden_state_layer_ids": [layers]}},
        },
        "kv_transfer_config": KVTransferConfig(
            kv_connector="MarkerStatesConnector",
            kv_connector_module_path="ume_r1_rag.backends.vllm.states.connector",
            kv_role="kv_producer",
            kv_connector_extra_config={
                "address": address,
                "disc_id": markers.disc,
                "gen_id": markers.gen,
            },
        ),
    }


def pooling() -> dict[str, Any]:
    """Returns what makes an engine return the last token's state after the final norm."""
    from vllm.config import PoolerConfig

    return {
        "runner": "pooling",
        "convert": "embed",
        "pooler_config": PoolerConfig(seq_pooling_type="LAST", use_activation=False),
    }


def state_params(key: str, prompt_length: int) -> dict[str, Any]:
    """Returns the ``extra_args`` of a request whose states are wanted."""
    return {"kv_transfer_params": {PARAMS: {"key": key, "prompt_length": prompt_length}}}


def _cpu_processes(options: VllmOptions) -> dict[str, Any]:
    """Returns what keeps an engine in processes of its own from fighting over a CPU's cores with itself."""
    # Of a machine's cores vLLM keeps one from the workers for their engine, which spins while it waits for
    # them; beside a KV connector two, for one that computes, which ours does not. Where there are but two, it
    # then keeps none: two threads of OpenMP wait for each other in turn with the engine, at every operator.
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", str(options.tensor_parallel_size))
    if options.tensor_parallel_size > 1:
        return {}
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    # As on a GPU, an only worker works in its engine's process, where nobody spins. vLLM has "mp" here, so as
    # to bind OpenMP's threads; by its class the other is taken all the same.
    return {"distributed_executor_backend": UniProcExecutor}


def _deterministic(options: VllmOptions) -> None:
    """Switches vLLM's batch-invariant mode on; it is read from the environment when an engine starts."""
    if not options.deterministic:
        return
    from vllm import envs

    if on_cpu() or not hasattr(envs, "VLLM_BATCH_INVARIANT"):
        raise ConfigError(
            f"deterministic=True: vLLM has no batch-invariant mode on {device_name()}: leave it out. "
            "In float32 a batch changes vectors by rounding alone"
        )
    os.environ["VLLM_BATCH_INVARIANT"] = "1"
