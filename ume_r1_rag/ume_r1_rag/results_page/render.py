"""Result page: searches and their hits as one self-contained HTML file.

Everything shown may come from a file name or a model, so it is escaped, and the page's own policy allows
neither scripts nor requests, nor any style but the one in it (which is why score bars are SVG: a ``style``
attribute would need a weaker policy). No template engine: escaping by one function, in one file, is easier
to check than a dependency's configuration.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from ume_r1_rag.describe import printable
from ume_r1_rag.index.payload import thumbnail as stored_thumbnail
from ume_r1_rag.results_page.excerpt import excerpt
from ume_r1_rag.results_page.link import link
from ume_r1_rag.retriever import SearchResult
from ume_r1_rag.types import Hit

_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}

_SHOWN = (320, 176)
"""Width and height, in CSS pixels, that a picture has at most. Smaller ones are enlarged."""

_EXCERPT = 420
"""Characters of a text that stand in for a missing picture."""

_LEGEND = {
    "rank": "fused: the score that ranks",
    "disc": "disc: cosine of the direct embeddings",
    "gen": "gen: cosine of the embeddings after reasoning",
    "text": "text: words in common (BM25), beside the best here",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One query with its answer, as the page shows it.

    Attributes:
        text: the query as a user would say it.
        hits: best first.
        thumbnail: the query's picture as JPEG, PNG, GIF or WebP, if it has one.
        reasoning: what the model thought about the query.
        summary: what it took the query to be.
        gold: keys of the right documents, or None if they are not known.
        mode: how the hits were ranked.
        spaces: by which they were; where none are named, by those that the hits have scores in.
        fusion: how the spaces were combined, if they were.
        seconds: how long the search took, if that is to be shown.
        most: hits that are shown; all by default. The others count for what is said of the right one.
    """

    text: str
    hits: Sequence[Hit]
    thumbnail: bytes | None = None
    reasoning: str | None = None
    summary: str | None = None
    gold: Collection[str] | None = None
    mode: str = ""
    spaces: Sequence[str] = ()
    fusion: str | None = None
    seconds: float | None = None
    most: int | None = None

    @classmethod
    def of(
        cls,
        text: str,
        result: SearchResult,
        thumbnail: bytes | None = None,
        gold: Collection[str] | None = None,
        most: int | None = None,
    ) -> Section:
        """Returns the section of a search."""
        return cls(
            text=text,
            hits=result.hits,
            thumbnail=thumbnail,
            reasoning=result.query_embedding.reasoning,
            summary=result.query_embedding.summary,
            gold=gold,
            mode=result.mode,
            spaces=result.spaces,
            fusion=result.fusion,
            seconds=result.encode_s + result.search_s + result.enrich_s,
            most=most,
        )

    @property
    def rank(self) -> int | None:
        """The rank, from 1, of the first right hit; None if there is none."""
        right = self.gold or ()
        return next((rank for rank, hit in enumerate(self.hits, start=1) if hit.key in right), None)


def render_results(
    sections: Iterable[Section],
    title: str = "Search results",
    subtitle: str = "",
    open_reasoning: bool = False,
) -> str:
    """Returns an HTML page, complete in itself, of some searches.

    Args:
        sections: the searches, in the order of the page.
        title: the page's heading.
        subtitle: a line below it, e.g. the model and the collection.
        open_reasoning: whether reasonings are shown at once, and not when they are clicked.
    """
    shown = list(sections)
    details = "<details open>" if open_reasoning else "<details>"
    style = _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Template(_asset("page.html")).substitute(
        style=style,
        style_hash=f"sha256-{digest}",
        title=_text(title),
        subtitle=f'<p class="subtitle">{_text(subtitle)}</p>' if subtitle else "",
        legend=_legend(shown),
        overview=_overview(shown),
        sections="\n".join(_section(number, one, details) for number, one in enumerate(shown, start=1)),
    )


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def _text(text: Any) -> str:
    """Returns any text as harmless HTML, fit for an element and for a quoted attribute."""
    return html.escape(printable(text, "\ufffd"), quote=True)


def _legend(sections: Sequence[Section]) -> str:
    used = {space for section in sections for hit in section.hits for space in hit.scores}
    used |= {"rank"} if any(section.fusion for section in sections) else set()
    items = [
        f'<span><svg class="key" aria-hidden="true"><rect class="{name}-fill" width="100%" height="100%"/>'
        f"</svg>{meaning}</span>"
        for name, meaning in _LEGEND.items()
        if name in used
    ]
    return f'<p class="legend">{"".join(items)}</p>' if items else ""


def _overview(sections: Sequence[Section]) -> str:
    """Returns the list of queries; a single one needs none."""
    if len(sections) < 2:
        return ""
    rows = [
        f'<li><a href="#query-{number}"><span class="number">{number}</span><bdi>{_text(one.text)}</bdi>'
        f"{_verdict(one)}</a></li>"
        for number, one in enumerate(sections, start=1)
    ]
    return f'<ol class="overview">{"".join(rows)}</ol>'


def _verdict(section: Section) -> str:
    if section.gold is None:
        return ""
    if section.rank is None:
        return '<span class="badge wrong">not found</span>'
    kind = "right" if section.rank == 1 else "later"
    below = ", below these" if section.most is not None and section.rank > section.most else ""
    return f'<span class="badge {kind}">right at rank {section.rank}{below}</span>'


def _section(number: int, section: Section, details: str) -> str:
    ways = [section.mode, section.fusion or ""]
    facts = [_text(" · ".join(way for way in ways if way))] if any(ways) else []
    if section.seconds is not None:
        facts.append(f"{section.seconds:.2f} s")
    meta = "".join(f"<span>{fact}</span>" for fact in facts) + _verdict(section)
    picture = _picture(section.thumbnail, "the picture asked with")
    read = ""
    if section.summary:
        read = f'<p class="read"><b>Read as</b> <bdi>{_text(section.summary)}</bdi></p>'
    cards = "\n".join(
        _card(rank, hit, section, details) for rank, hit in enumerate(section.hits[: section.most], start=1)
    )
    return f"""<section class="query" id="query-{number}">
<div class="asked">{picture}<div>
<div class="meta"><span>Query {number}</span>{meta}</div>
<h2><bdi>{_text(section.text)}</bdi></h2>
{read}{_reasoning(section.reasoning, "How the query was reasoned about", details)}
</div></div>
{f'<ol class="cards">{cards}</ol>' if cards else '<p class="empty">Nothing was found.</p>'}
</section>"""


def _card(rank: int, hit: Hit, section: Section, details: str) -> str:
    stored = hit.payload
    title = hit.title or hit.key
    right = section.gold is not None and hit.key in section.gold
    badge = ""
    if section.gold is not None:
        badge = f'<span class="badge {"right" if right else "wrong"}">{"right" if right else "wrong"}</span>'
    picture = _picture(stored_thumbnail(stored), title)
    text = str(hit.text or stored.get("page_content") or "")
    # A text that stands in for a picture is its own excerpt.
    snippet = excerpt(hit.text, section.text) if picture and hit.text else ""
    address = link(hit)
    if not picture:
        picture = f'<div class="excerpt"><bdi>{excerpt(text, section.text, _EXCERPT)}</bdi></div>'
    heading = f"<bdi>{_text(title)}</bdi>"
    if address is not None:
        heading = f'<a href="{_text(address)}" rel="noopener noreferrer">{heading}</a>'
    issue = stored.get("ume_gen_issue")
    return f"""<li class="card{" right" if right else ""}">
<div class="top"><span class="position">{rank}</span>{badge}</div>
<div class="picture">{picture}</div>
<div class="body"><h3>{heading}</h3>
<p class="where">{_where(hit)}</p>
{_scores(hit, section)}
{f'<p class="summary"><bdi>{_text(hit.summary)}</bdi></p>' if hit.summary else ""}
{f'<p class="snippet"><bdi>{snippet}</bdi></p>' if snippet else ""}
{f'<p class="issue">Generation flagged: {_text(issue)}</p>' if issue else ""}
{_reasoning(hit.reasoning, "Reasoning", details)}
</div></li>"""


def _where(hit: Hit) -> str:
    """Returns what a document is, and where."""
    parts = [_text(hit.kind) if hit.page is None else f"page {hit.page}"]
    if hit.span_s is not None:
        parts.append(f"{hit.span_s[0]:.1f} to {hit.span_s[1]:.1f} s")
    # The title says the file's name already.
    place = hit.document.removesuffix(hit.title)
    if place:
        parts.append(f"<bdi>{_text(place)}</bdi>")
    return " · ".join(part for part in parts if part)


def _scores(hit: Hit, section: Section) -> str:
    """Returns one row for the score that ranks, if it is none of the spaces', and one for each space."""
    rows = []
    if section.fusion:
        # Reciprocal ranks and deviations have no scale of their own; the best hit's is the measure.
        convex = section.fusion == "convex"
        full = 1.0 if convex else max(one.score for one in section.hits)
        digits = 4 if section.fusion == "rrf" else 3
        rows.append(_bar("rank", "fused", hit.score, hit.score / full if full else 0.0, digits))
    for space in dict.fromkeys([*section.spaces, *hit.scores]):
        value = hit.scores.get(space)
        if value is None and space == "text":
            rows.append('<dt>text</dt><dd class="none">no word in common</dd><dd></dd>')
        elif value is None:
            rows.append(f'<dt>{_text(space)}</dt><dd class="none">no vector</dd><dd></dd>')
        elif space == "text":
            best = max(one.scores.get(space, 0.0) for one in section.hits)
            rows.append(_bar(space, space, value, value / best if best else 0.0, 2))
        else:
            rows.append(_bar(space, space, value, value, 3))
    if not section.fusion and section.spaces and section.spaces[0] not in hit.scores:
        rows.insert(
            1, f'<dt>estimate</dt><dd class="none">by disc</dd><dd class="value">{hit.score:.3f}</dd>'
        )
    return f'<dl class="scores">{"".join(rows)}</dl>'


def _bar(kind: str, label: str, value: float, share: float, digits: int) -> str:
    """Returns a label, a bar filled to ``share`` of its width, and the number."""
    name = kind if kind in _LEGEND else "rank"
    lead = " lead" if kind == "rank" else ""
    width = 100 * min(1.0, max(0.0, share))
    return (
        f'<dt class="{lead.strip()}">{_text(label)}</dt><dd><svg class="bar" aria-hidden="true">'
        f'<rect class="{name}-fill" width="{width:.1f}%" height="100%" rx="3"/></svg></dd>'
        f'<dd class="value{lead}">{value:.{digits}f}</dd>'
    )


def _reasoning(text: Any, label: str, details: str) -> str:
    if not text or not str(text).strip():
        return ""
    shown = f'<div class="reasoning"><bdi>{_text(str(text).strip())}</bdi></div>'
    return f"{details}<summary>{label}</summary>{shown}</details>"


def _picture(encoded: bytes | None, alt: str) -> str:
    """Returns an ``<img>`` with its data in it; nothing if there is none or it is no picture we know."""
    if not encoded:
        return ""
    from io import BytesIO

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(encoded), formats=list(_MIME)) as image:
            mime, size = _MIME[str(image.format)], image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    factor = min(most / side for most, side in zip(_SHOWN, size, strict=True))
    # From twofold on by a whole factor: pixels stay square and sharp.
    factor, sharp = (float(int(factor)), ' class="pixel"') if factor >= 2 else (factor, "")
    width, height = (max(1, round(side * factor)) for side in size)
    data = base64.b64encode(encoded).decode()
    return (
        f'<img{sharp} src="data:{mime};base64,{data}" width="{width}" height="{height}" alt="{_text(alt)}">'
    )
