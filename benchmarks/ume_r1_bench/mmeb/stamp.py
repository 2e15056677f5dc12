"""Stamp: all that a result depends on, kept with it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.protocol import Protocol
    from ume_r1_rag.types import Encoder

_PACKAGES: Final = ("ume-r1-rag", "torch", "transformers", "vllm", "numpy", "pillow", "sentence-transformers")


def make_stamp(encoder: Encoder, protocol: Protocol, **run: Any) -> dict[str, Any]:
    """Returns the stamp of a run, as in JSON.

    Args:
        encoder: what encodes.
        protocol: by which rows are rendered.
        **run: what else decides: suite, seed, limit, modes, …
    """
    backend = getattr(encoder, "backend", None)
    return {
        "protocol": protocol.stamp(),
        "encoder": dict(encoder.fingerprint),
        "backend": {name: getattr(backend, name, None) for name in ("name", "device", "dtype")},
        "versions": {"python": platform.python_version(), **versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **run,
    }


def versions() -> Mapping[str, str]:
    """Returns the installed ones of the packages that results depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
