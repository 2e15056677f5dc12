"""A run as one self-contained HTML page: figures, published rows beside them, and queries to look into."""

from ume_r1_bench.mmeb.report.page import render_report

__all__ = ["render_report"]
