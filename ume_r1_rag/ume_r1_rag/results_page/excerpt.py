"""Excerpt: the part of a text that says most about a question, as HTML with the question's words marked."""

from __future__ import annotations

import html
import re

from ume_r1_rag.describe import printable

_LONGEST = 220
"""Characters of an excerpt."""

_BEFORE = 60
"""Characters of it that stand before the first word in common."""


def excerpt(text: str, question: str, longest: int = _LONGEST) -> str:
    """Returns harmless HTML: what stands around the most words of the question, or else the beginning.

    Args:
        text: any text.
        question: whose words are marked; words of one or two letters only if they hold a digit.
        longest: characters of the excerpt, without the marks.
    """
    bare = " ".join(printable(text, "\ufffd").split())
    words = {word for word in re.findall(r"\w+", question) if len(word) > 2 or any(map(str.isdigit, word))}
    if not words:
        return _cut(bare, 0, longest, None)
    joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    wanted = re.compile(rf"\b(?:{joined})\b", re.IGNORECASE)
    found = list(wanted.finditer(bare))
    best, start = 0, 0
    for match in found:
        begin = max(0, match.start() - _BEFORE)
        within = {one[0].casefold() for one in found if begin <= one.start() and one.end() <= begin + longest}
        if len(within) > best:
            best, start = len(within), begin
    return _cut(bare, start, longest, wanted)


def _cut(text: str, start: int, longest: int, wanted: re.Pattern[str] | None) -> str:
    end = start + longest
    if start:  # at a word's beginning
        start = text.find(" ", start) + 1 or start
    piece = text[start:end].rstrip()
    if wanted is None:
        shown = html.escape(piece)
    else:
        shown, at = "", 0
        for match in wanted.finditer(piece):
            shown += f"{html.escape(piece[at : match.start()])}<mark>{html.escape(match[0])}</mark>"
            at = match.end()
        shown += html.escape(piece[at:])
    return f"{'… ' if start else ''}{shown}{' …' if end < len(text) else ''}"
