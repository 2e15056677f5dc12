"""Rows of every MMEB-V2 task from the procedural world, in the layout of the task's own data."""

from ume_r1_bench.world.mmeb.write import LAYOUTS, MmebSummary, write_mmeb

__all__ = ["LAYOUTS", "MmebSummary", "write_mmeb"]
