"""Sparse: words and numbers as a sparse vector, so that Qdrant's dot product is BM25.

A document's weights hold the part of BM25 that the document decides (how often a term occurs, and how long
the text is); Qdrant multiplies by the inverse document frequency (``Modifier.IDF``), which the collection
decides. A query's weights are 1.

What is a term: a word, casefolded, whole. A code or number with separators in it ("AB-123", "3.14",
"ada@example.org") is a term as it stands, another without its separators, and one for each part; a number
with a unit ("5kg") is one whole and two in part. A Latin word with accents is a term without them too.
Scripts that put no spaces between words give pairs of neighbours. Nothing is stemmed and no word is
stopped: what is exact is found here, what is similar by disc and gen.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from qdrant_client import models

K1: Final = 1.2
B: Final = 0.75

AVERAGE_WORDS: Final = 256
"""The length at which a text is neither long nor short. BM25 takes the collection's average, which would
change with every document; a constant keeps stored weights comparable."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Han, kana, Hangul and the scripts of South East Asia."""

_LONGEST = 100
"""Characters of a compound beyond which nobody types it whole: it is found by its parts alone."""

_JOINERS = r"[-‐‑./:_,'’@&+#·]"


def text_of(payload: Mapping[str, Any]) -> str:
    """Returns the words that a stored point is found by: title, text layer, summary and reasoning."""
    text = payload.get("ume_text") or (
        payload.get("page_content") if payload.get("ume_kind") == "text" else ""
    )
    parts = (payload.get("ume_title"), text, payload.get("ume_summary"), payload.get("ume_reasoning"))
    return "\n".join(part for part in parts if isinstance(part, str))


def document_vector(text: str) -> models.SparseVector | None:
    """Returns a document's weights, or None if there is no term in it."""
    counts, words = _count(text)
    longer = K1 * (1 - B + B * words / AVERAGE_WORDS)
    return _vector({id: count * (K1 + 1) / (count + longer) for id, count in counts.items()})


def query_vector(text: str) -> models.SparseVector | None:
    """Returns a query's weights, or None if there is no term in it."""
    return _vector(dict.fromkeys(_count(text)[0], 1.0))


def terms(text: str) -> Iterator[str]:
    """Yields the terms of a text in order, each as often as it occurs."""
    for compound in _compounds(text):
        yield from _terms(compound)[0]


def term_id(term: str) -> int:
    """Returns the index of a term, from 0 to 2**32 - 1; the same everywhere and for ever."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "little")


def _count(text: str) -> tuple[Mapping[int, int], int]:
    """Returns how often each term occurs, by id, and how many words there are."""
    counts: dict[int, int] = {}
    total = 0
    for compound, times in Counter(_compounds(text)).items():
        ids, words = _ids_of_short(compound) if len(compound) <= _LONGEST else _ids(compound)
        total += times * words
        for id in ids:
            counts[id] = counts.get(id, 0) + times
    return counts, total


def _vector(weights: Mapping[int, float]) -> models.SparseVector | None:
    from qdrant_client import models

    if not weights:
        return None
    indices = sorted(weights)
    return models.SparseVector(indices=indices, values=[weights[index] for index in indices])


def _compounds(text: str) -> Iterable[str]:
    """Returns the runs of words that nothing but single separators hold apart, casefolded."""
    return _patterns()[0].findall(unicodedata.normalize("NFKC", unicode_text(text)).casefold())


def _terms(compound: str) -> tuple[list[str], int]:
    """Returns the terms of one compound, each as often as it occurs in it, and how many words it has."""
    words = _words(compound)
    found = [piece for word in words for piece in _pieces(word)]
    if len(words) > 1 and len(compound) <= _LONGEST:
        found += [compound, "".join(words)]
    return found, len(words)


def _ids(compound: str) -> tuple[tuple[int, ...], int]:
    """Returns the ids of a compound's terms, and how many words it has."""
    found, words = _terms(compound)
    return tuple(map(term_id, found)), words


# A corpus says the same words over and over. Of one language, this holds nearly all that is not a number.
_ids_of_short = functools.lru_cache(maxsize=1 << 16)(_ids)


def _words(compound: str) -> list[str]:
    return _patterns()[1].findall(compound)


def _pieces(word: str) -> Iterator[str]:
    unspaced, united = _patterns()[2:]
    if unspaced.match(word):
        yield from (word[at : at + 2] for at in range(len(word) - 1)) if len(word) > 1 else [word]
        return
    yield word
    unit = united.fullmatch(word)
    if unit:
        yield from (part for part in unit.groups() if part)
    bare = _unaccented(word)
    if bare != word:
        yield bare


def _unaccented(word: str) -> str:
    """Returns a Latin word without its accents and a number in ASCII digits, anything else as it is."""
    if word.isascii():
        return word
    if word.isdecimal():
        return "".join(str(unicodedata.decimal(digit)) for digit in word)
    split = unicodedata.normalize("NFD", word)
    if not all("a" <= char <= "z" or char in "ßæœøłđðþı" or unicodedata.combining(char) for char in split):
        return word
    return "".join(char for char in split if not unicodedata.combining(char)).translate(_BARE)


_BARE = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


@functools.cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    r"""Returns the patterns of a compound, of a word, of an unspaced word, and of a number with its unit."""
    # `\w` knows letters and digits alone: a vowel sign of Devanagari would end the word.
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M")
    # In runs, and never given back: much faster than letter by letter.
    spaced = rf"(?:[^\W_{_UNSPACED}]++|[{re.escape(marks)}\u200c\u200d]++)++"
    unspaced = rf"[{_UNSPACED}]+"
    return (
        re.compile(rf"{spaced}(?:{_JOINERS}{spaced})*|{unspaced}"),
        re.compile(rf"{spaced}|{unspaced}"),
        re.compile(unspaced),
        re.compile(r"(?:([^\W\d_]+)(\d+)|(\d+)([^\W\d_]+))"),
    )
