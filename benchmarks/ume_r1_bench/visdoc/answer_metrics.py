"""Answer metrics: exact match, token F1, ANLS and relaxed accuracy, each the best over the right answers.

* ``em`` and ``f1``: SQuAD's, after lower case, without punctuation, articles and double spaces.
* ``anls``: DocVQA's: 1 - edit distance / the longer length, after lower case and single spaces; 0 below .5.
* ``relaxed``: ChartQA's relaxed accuracy: a number may be 5 % off, anything else must be the same after lower
  case. As in its code 5% is .05; the departure: separators of thousands and a dollar sign are read over.

Own code: transformers' ``squad_metrics`` has the first two (a test holds ours to them) at the price of
importing it, and nothing that is installed has the others. Edit distance is a row of numpy at a time.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

UNANSWERABLE: Final = "not answerable"
THRESHOLD: Final = 0.5
TOLERANCE: Final = 0.05

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Returns a text in lower case without punctuation, articles and double spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(given: str, right: str) -> float:
    """Returns 1 if two answers are the same once normalised, else 0."""
    return float(normalised(given) == normalised(right))


def token_f1(given: str, right: str) -> float:
    """Returns the harmonic mean of precision and recall of words; of two empty answers 1."""
    ours, theirs = normalised(given).split(), normalised(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def anls(given: str, right: str) -> float:
    """Returns the normalised Levenshtein similarity, 0 below the threshold."""
    ours, theirs = " ".join(given.lower().split()), " ".join(right.lower().split())
    longest = max(len(ours), len(theirs))
    if longest == 0:
        return 1.0
    similarity = 1 - edit_distance(ours, theirs) / longest
    return similarity if similarity >= THRESHOLD else 0.0


def relaxed(given: str, right: str) -> float:
    """Returns 1 if a number is within 5 % of the right one, or another answer is the same, else 0."""
    ours, theirs = _number(given), _number(right)
    if ours is not None and theirs:
        return float(abs(ours - theirs) <= TOLERANCE * abs(theirs))
    return float(" ".join(given.lower().split()) == " ".join(right.lower().split()))


METRICS: Final[dict[str, Callable[[str, str], float]]] = {
    "em": exact_match,
    "anls": anls,
    "relaxed": relaxed,
    "f1": token_f1,
}
"""By name."""


def score_answer(given: str, right: Sequence[str]) -> dict[str, float]:
    """Returns every metric of an answer, the best over those that are right."""
    return {name: max(metric(given, one) for one in right) for name, metric in METRICS.items()}


def edit_distance(one: str, other: str) -> int:
    """Returns how many insertions, deletions and substitutions of characters make one text the other."""
    import numpy as np

    if len(one) < len(other):
        one, other = other, one
    letters = np.array([ord(letter) for letter in other], dtype=np.int64)
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for count, letter in enumerate(one, 1):
        # Without insertions first; a running minimum of what is left of the steps then adds those.
        changed = np.minimum(row[:-1] + (letters != ord(letter)), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate(([count], changed)) - steps) + steps
    return int(row[-1])


def _number(text: str) -> float | None:
    """Returns what number a text is, or None."""
    bare = text.strip().replace(",", "").removeprefix("$").strip()
    percent = bare.endswith("%")
    try:
        value = float(bare.removesuffix("%").strip())
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value / 100 if percent else value
