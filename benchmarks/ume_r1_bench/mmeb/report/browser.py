"""Browser: queries with what each mode and each sample made of them (paper, appendices G and H)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ume_r1_bench.mmeb.report.markup import cut, kind_of, picture, text

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.card import Card, Ranking, Shown

_TEXT: Final = 300
_NAME: Final = 110
_TOLD: Final = {
    "gen alone": "gen finds, disc misses",
    "disc alone": "disc finds, gen misses",
    "neither": "neither finds",
    "both": "both find",
}


def browse(cards: Sequence[Card]) -> str:
    """Returns all queries that are shown, task by task."""
    by_task: dict[str, list[Card]] = {}
    for card in cards:
        by_task.setdefault(card.task, []).append(card)
    # Who opens the page sees the model at work first, and its flagged generations after that.
    ordered = sorted(by_task.items(), key=lambda one: not any(map(_at_work, one[1])))
    return "\n".join(_task(task, of) for task, of in ordered)


def _at_work(card: Card) -> bool:
    return card.case != "neither" and not any(one.issue for one in card.rankings)


def _task(task: str, cards: Sequence[Card]) -> str:
    articles = "".join(map(_card, cards))
    head = f'<div class="meta"><span>{text(cards[0].meta_task)}</span></div><h2>{text(task)}</h2>'
    return f'<section class="query" id="task-{text(task)}">{head}{articles}</section>'


def _card(card: Card) -> str:
    kind = {"both": "right", "neither": "wrong"}.get(card.case, "")
    right = "".join(_candidate(one, mark=False) for one in card.right)
    samples = ""
    if card.samples:
        columns = "".join(map(_column, card.samples))
        # What is worth looking at: samples of which some find it and some do not.
        found = [one.rank == 1 for one in card.samples]
        opened = " open" if any(found) and not all(found) else ""
        samples = (
            f"<details{opened}><summary>The same query thought about "
            f'{len(card.samples)} more times, sampled</summary><div class="ways">{columns}</div></details>'
        )
    ways = "".join(map(_column, card.rankings))
    told = text(_TOLD.get(card.case, card.case))
    said = cut(card.query.text, _TEXT) or "(a picture alone)"
    return f"""<article class="asking">
<div class="asked">{picture(card.query.thumbnail, "the query in pictures")}<div>
<div class="meta"><span>Query {text(card.number)}, {card.candidates} candidates</span>
<span class="badge {kind}">{told}</span></div>
<p class="said"><bdi>{said}</bdi></p></div>
<div class="answer"><p class="where">right</p><ol class="found">{right}</ol></div></div>
<div class="ways">{ways}</div>
{samples}
</article>"""


def _column(one: Ranking) -> str:
    ranked = "".join(_candidate(found) for found in one.first)
    flaw = f'<p class="issue">Generation flagged: {text(one.issue)}</p>' if one.issue else ""
    summary = (
        f'<p class="read"><b>Read as</b> <bdi>{cut(one.summary, _TEXT)}</bdi></p>'
        if one.summary.strip()
        else ""
    )
    thought = ""
    if one.reasoning.strip():
        thought = f'<div class="reasoning"><bdi>{text(one.reasoning.strip())}</bdi></div>'
    badge = f'<span class="badge {kind_of(one.name)}-badge">{text(one.name)}</span>'
    return (
        f'<div class="way"><div class="meta">{badge}{_rank(one)}</div>'
        f'<ol class="found">{ranked}</ol>{summary}{thought}{flaw}</div>'
    )


def _rank(one: Ranking) -> str:
    if one.rank == 0:
        return '<span class="badge wrong">right one not ranked</span>'
    if one.rank <= 1:
        return '<span class="badge right">right at rank 1</span>'
    tied = "" if float(one.rank).is_integer() else ", tied"
    return f'<span class="badge">right at rank {one.rank:g}{tied}</span>'


def _candidate(one: Shown, mark: bool = True) -> str:
    # The text of a picture or clip is mostly the instruction that all of a task have.
    label = one.name if one.thumbnail and one.name else one.text.strip() or one.name
    shown = picture(one.thumbnail, label)
    kind = " right" if one.right and mark else ""
    label = label.rpartition("/")[2] if one.thumbnail else label
    words = f"<bdi>{cut(label, _NAME)}</bdi>"
    return f'<li class="one{kind}">{shown}<span>{words}</span></li>'
