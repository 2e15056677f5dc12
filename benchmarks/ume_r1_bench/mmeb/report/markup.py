"""Markup: harmless HTML of texts, pictures, bars. Everything shown may come from a data set or a model."""

from __future__ import annotations

import base64
import html
from typing import Any

from ume_r1_rag.describe import printable


def text(value: Any) -> str:
    """Returns any text as harmless HTML, fit for an element and for a quoted attribute."""
    return html.escape(printable(value, "\ufffd"), quote=True)


def cut(value: str, longest: int) -> str:
    """Returns harmless HTML of a text on one line, cut to ``longest`` characters."""
    bare = " ".join(value.split())
    return text(bare if len(bare) <= longest else f"{bare[: longest - 1].rstrip()}…")


def picture(jpeg: bytes | None, alt: str) -> str:
    """Returns an ``<img>`` with its data in it; nothing without a picture."""
    if jpeg is None:
        return ""
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text(alt)}" loading="lazy">'


def kind_of(mode: str) -> str:
    """Returns the class of a mode's colour: ``disc``, ``gen``, or ``rank`` for what is neither."""
    way = mode.partition(":")[0].partition("@")[0]
    return way if way in ("disc", "gen") and ":" not in mode else "rank"


def bar(mode: str, value: float, low: float, high: float) -> str:
    """Returns a bar of points in 0 to 100 with its interval as a whisker."""
    ends = [min(100.0, max(0.0, end)) for end in (value, low, high)]
    return (
        '<svg class="bar whiskered" aria-hidden="true">'
        f'<rect class="{kind_of(mode)}-fill" width="{ends[0]:.1f}%" height="6" y="4" rx="3"/>'
        f'<line class="whisker" x1="{ends[1]:.1f}%" x2="{ends[2]:.1f}%" y1="7" y2="7"/></svg>'
    )
