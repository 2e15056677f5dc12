"""What can go wrong in a benchmark."""

from __future__ import annotations

from ume_r1_rag.errors import UmeR1Error


class BenchError(UmeR1Error):
    """A benchmark cannot be run, or its two sides do not find the same."""
