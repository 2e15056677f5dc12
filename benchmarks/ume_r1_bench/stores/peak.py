"""Peak: how much memory this process has used at most since a mark. Linux tells; elsewhere nobody does."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")
_MIB: Final = 1024


class Peak:
    """The peak of resident memory above a mark."""

    def __init__(self) -> None:
        """Sets the mark."""
        self._from = 0.0
        self.mark()

    def mark(self) -> None:
        """Counts from what is resident now."""
        gc.collect()
        if _RESET.exists():
            _RESET.write_text("5", encoding="ascii")  # proc(5): resets the high water mark
            self._from = _mib("VmRSS")

    def mib(self) -> float | None:
        """Returns the peak above the mark in MiB, or None where it cannot be known."""
        return max(0.0, _mib("VmHWM") - self._from) if _RESET.exists() else None


def _mib(field: str) -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / _MIB
    raise OSError(f"{_STATUS} has no field {field}")
