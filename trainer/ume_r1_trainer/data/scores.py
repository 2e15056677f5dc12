"""Scores: how hard each pair is, as some checkpoint measured it, and which ones are too easy for RL.

A file of one JSON object a line: ``{"id": …, "rank": 1, "margin": 0.31}``, and whatever else was measured.
``ume-r1 data score`` writes one; any other may.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.records import RecordError

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound on one score.

    Attributes:
        name: of the score.
        sign: how it is compared.
        bound: with what.
    """

    name: str
    sign: str
    bound: float

    def holds(self, scores: Mapping[str, float]) -> bool:
        """Returns whether a pair's score is within the bound.

        Raises:
            KeyError: the pair has no such score.
        """
        return _OPERATORS[self.sign](scores[self.name], self.bound)

    def __str__(self) -> str:
        """Returns it as it was written."""
        return f"{self.name}{self.sign}{self.bound:g}"


def parse_condition(text: str) -> Condition:
    """Returns the condition of ``rank<=1`` and its like.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*", text)
    if not found:
        raise ConfigError(f"{text!r} is no condition: give NAME<=NUMBER, such as rank<=1 or margin>=0.2")
    return Condition(found[1], found[2], float(found[3]))


def read_scores(path: Path, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns id → the named scores.

    Raises:
        RecordError: the file is absent, or a line lacks the id or a score, or has one that is no number.
    """
    if not path.is_file():
        raise RecordError(f"no scores at {path}: make them with `ume-r1 data score`")
    scores: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path.name}:{number}"
            try:
                row = json.loads(line)
                identity, values = str(row["id"]), {name: row[name] for name in names}
            except (ValueError, KeyError, TypeError) as error:
                raise RecordError(f"{where}: needs id, {', '.join(names)} ({error})") from error
            for name, value in values.items():
                if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                    raise RecordError(f"{where}.{name}: {value!r} is no number")
            scores[identity] = values
    return scores


def hardness(queries: np.ndarray, targets: np.ndarray, contents: Sequence[object]) -> list[dict[str, float]]:
    """Returns rank and margin of each pair in a pool of pairs.

    ``rank`` is 1 + the number of other targets that are at least as near to the query; ``margin`` is the
    positive's cosine less that of the nearest other target. Targets of the same content are no others.

    Args:
        queries: ``(N, D)`` unit vectors.
        targets: ``(N, D)`` unit vectors, the positives in order.
        contents: what each target shows.
    """
    kinds: dict[object, int] = {}
    numbers = np.asarray([kinds.setdefault(content, len(kinds)) for content in contents])
    similarity = queries @ targets.T
    positive = similarity.diagonal()
    others = np.where(numbers[:, None] == numbers[None, :], -np.inf, similarity)
    rank = 1 + (others >= positive[:, None]).sum(axis=1)
    nearest = others.max(axis=1)
    # A pool of one content has no other target: the pair is as easy as can be.
    margin = np.where(np.isinf(nearest), 1.0, positive - nearest)
    return [
        {"rank": int(one), "margin": round(float(other), 6)} for one, other in zip(rank, margin, strict=True)
    ]
