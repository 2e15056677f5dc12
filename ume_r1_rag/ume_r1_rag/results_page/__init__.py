"""Search results as one self-contained HTML page."""

from ume_r1_rag.results_page.render import Section, render_results

__all__ = ["Section", "render_results"]
