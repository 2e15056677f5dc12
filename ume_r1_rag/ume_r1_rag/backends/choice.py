"""Which backend runs a model, by name; a backend's packages are imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ume_r1_rag.errors import BackendError, ConfigError, MissingExtra

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Backend
    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.template import Preset

BackendName = Literal["auto", "transformers", "vllm"]
"""What can run a model."""


def check_backend(name: str, vllm: object) -> None:
    """Raises ``ConfigError`` for an unknown backend, and for options of vLLM with another one."""
    if name not in ("auto", "transformers", "vllm"):
        raise ConfigError(f'backend={name!r} is unknown: use "auto", "transformers" or "vllm"')
    if vllm is not None and name != "vllm":
        raise ConfigError(f'vllm={vllm!r} with backend={name!r}: these options are for backend="vllm"')


def open_backend(
    name: BackendName,
    path: Path,
    preset: Preset,
    device: str | None,
    dtype: str,
    *,
    batch_size: int,
    vllm: VllmOptions | Mapping[str, Any] | None,
) -> Backend:
    """Returns a model that runs; ``"auto"`` is transformers, since vLLM takes most of a GPU for itself.

    Args:
        name: the backend.
        path: the checkpoint.
        preset: its pixel limits.
        device: where, or None for the best there is.
        dtype: ``"auto"`` or a name.
        batch_size: most inputs in one batch; of no meaning to vLLM.
        vllm: how vLLM is to run.

    Raises:
        MissingExtra: the backend is not installed.
        BackendError: it cannot be imported.
        UmeR1Error: the checkpoint or the device is of no use.
    """
    if name == "vllm":
        return _vllm(path, preset, device, dtype, vllm)
    return _transformers(path, preset, device, dtype, batch_size)


def _transformers(path: Path, preset: Preset, device: str | None, dtype: str, batch_size: int) -> Backend:
    try:
        from ume_r1_rag.backends.batching import BatchLimits
        from ume_r1_rag.backends.transformers import TransformersBackend
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the transformers backend needs {error.name}: pip install 'ume-r1-rag[transformers]'"
        ) from error
    except ImportError as error:
        raise BackendError(
            f"the transformers backend cannot be imported: {error}. Is a package too old or broken? "
            "`ume-r1 doctor` shows the versions; pip install -U 'ume-r1-rag[transformers]'"
        ) from error
    return TransformersBackend(path, preset, device, dtype, BatchLimits(requests=batch_size))


def _vllm(
    path: Path,
    preset: Preset,
    device: str | None,
    dtype: str,
    options: VllmOptions | Mapping[str, Any] | None,
) -> Backend:
    try:
        from ume_r1_rag.backends.vllm.backend import VllmBackend
        from ume_r1_rag.backends.vllm.states import arguments

        arguments.device_type()
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the vllm backend needs {error.name}: pip install 'ume-r1-rag[vllm]', on a GPU in an "
            "environment of its own"
        ) from error
    except ImportError as error:
        raise BackendError(
            f"the vllm backend cannot be imported: {error}. `ume-r1 doctor` shows the versions; docs/vllm.md "
            "says which were tried"
        ) from error
    return VllmBackend(path, preset, device, dtype, options=options)
