"""Analysis: what disc and gen have in common, what is luck, and what the thinking is worth.

All of it is computed from every query's value of its task's reported measure. Each figure is the mean over
tasks of the mean over queries, its interval from resampling queries within tasks (percentiles of 1,000,
seeded).

* The *oracle* takes for each query the better of disc and gen (paper, Table 1). It sees the answer: it is a
bound
  for whoever chooses a mode, and no result.
* Its *nulls*: the better of two rankings of one model always looks good. So the same is done with two
samples of
  gen, over all pairs, and with gen made in batches of two sizes. What the oracle gains above that, over the
  better of disc and gen on average, is what a choice of mode could be worth.
* *pass@k*: whether any of k samples finds it (paper, Figure 3), by the unbiased estimator of Chen et al.
2021,
  equation 1. Ties make a hit a probability p; then 1 - e_k(1 - p) / C(n, k) with e_k the elementary symmetric
  polynomial is the mean over all choices of k samples, and for p of 0 and 1 that estimator itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

_RESAMPLES: Final = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """Every query's value of one task's reported measure.

    Attributes:
        values: how it was ranked → ``(Q,)``: ``disc``, ``gen``, ``batch`` (gen in other batches), the
            combined
            ones (``convex``, ``rrf``, ``surer``), and gen with thinking changed (``none``, ``empty``,
            ``shuffled``, ``foreign``).
        samples: ``(K, Q)`` of sampled generations; K may be 0.
    """

    values: Mapping[str, Values]
    samples: Values = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure.

    Attributes:
        name: short.
        about: what it is, in words.
        value: in points of 100.
        low: lower end of its 95 % interval.
        high: upper end.
        tasks: it is over.
        queries: it is over.
    """

    name: str
    about: str
    value: float
    low: float
    high: float
    tasks: int
    queries: int


def best_of_pairs(samples: Values) -> Values:
    """Returns the better of two different samples, ``(Q,)``, its mean over all pairs of ``(K, Q)``, K ≥ 2."""
    # Sorted, each is the better one of as many pairs as there are samples below it.
    rising, count = np.sort(samples, axis=0), len(samples)
    weights = np.arange(count)[:, None] / comb(count, 2)
    return np.asarray((rising * weights).sum(axis=0), np.float64)


def pass_at_k(hits: Values) -> Values:
    """Returns ``(K, Q)``: row k - 1 has pass@k of each query, from K samples' hits in 0 to 1."""
    count = len(hits)
    # e[j]: elementary symmetric polynomials of the misses, one sample after another.
    polynomials = np.zeros((count + 1, hits.shape[1]))
    polynomials[0] = 1
    for misses in 1 - hits:
        polynomials[1:] = polynomials[1:] + polynomials[:-1] * misses
    choices = np.array([comb(count, k) for k in range(1, count + 1)], np.float64)
    return 1 - polynomials[1:] / choices[:, None]


def mean_over_tasks(parts: Sequence[Values], seed: int = 0) -> tuple[float, float, float]:
    """Returns the mean over tasks with its 95 % interval, in points of 100.

    Args:
        parts: each task's values by query.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros(_RESAMPLES)
    for values in parts:
        for at in range(0, _RESAMPLES, 100):
            chosen = rng.integers(0, len(values), (100, len(values)))
            drawn[at : at + 100] += values[chosen].mean(axis=1)
    low, high = np.percentile(drawn / len(parts), [2.5, 97.5])
    return 100 * float(np.mean([v.mean() for v in parts])), 100 * float(low), 100 * float(high)


def findings(tasks: Sequence[Measured], seed: int = 0) -> list[Finding]:
    """Returns all figures that can be had; each over the tasks that have what it needs.

    Args:
        tasks: without those that have no query.
        seed: of the resampling.
    """
    out: list[Finding] = []

    def add(name: str, about: str, parts: Sequence[Values]) -> None:
        if parts:
            value, low, high = mean_over_tasks(parts, seed)
            out.append(Finding(name, about, value, low, high, len(parts), sum(map(len, parts))))

    def of(*names: str) -> list[Mapping[str, Values]]:
        return [one.values for one in tasks if all(name in one.values for name in names)]

    both = of("disc", "gen")
    add("disc", "disc alone", [v["disc"] for v in of("disc")])
    add("gen", "gen alone", [v["gen"] for v in of("gen")])
    add("gen - disc", "what gen gains", [v["gen"] - v["disc"] for v in both])
    add("oracle", "the better of both, chosen by the answer", [_oracle(v) for v in both])
    better = _better(both)
    told = f"what that choice gains over {better}, the better one on average"
    add(f"oracle - {better}", told, [_oracle(v) - v[better] for v in both])
    several = [one for one in tasks if len(one.samples) > 1]
    add("null, samples", "the same gain of the better of two samples", [_null(one) for one in several])
    add(
        "null, batches",
        "the same gain of the better of two batch sizes",
        [np.maximum(v["gen"], v["batch"]) - (v["gen"] + v["batch"]) / 2 for v in of("gen", "batch")],
    )
    above = [one for one in several if {"disc", "gen"} <= one.values.keys()]
    add(
        "gap above null",
        "what is left of the oracle's gain when the samples' is taken off",
        [_oracle(one.values) - one.values[better] - _null(one) for one in above],
    )
    for name, about in _COMPARED.items():
        add(name, about, [v[name] for v in of("gen", name)])
        add(f"{name} - gen", f"{about}, less gen", [v[name] - v["gen"] for v in of("gen", name)])
    return out


def curve(tasks: Sequence[Measured], seed: int = 0) -> list[Finding]:
    """Returns pass@1 to pass@K over the tasks with the most samples; empty where there are none."""
    most = max((len(one.samples) for one in tasks), default=0)
    passed = [pass_at_k(one.samples) for one in tasks if most and len(one.samples) == most]
    out = []
    for k in range(1, most + 1):
        value, low, high = mean_over_tasks([one[k - 1] for one in passed], seed)
        count = sum(one.shape[1] for one in passed)
        about = f"found by any of {k} of {most} samples"
        out.append(Finding(f"pass@{k}", about, value, low, high, len(passed), count))
    return out


_COMPARED: Final = {
    "none": "gen without thinking or summary",
    "empty": "its summary kept, its thinking taken away",
    "shuffled": "its summary kept, its thinking's words shuffled",
    "foreign": "its summary kept, another query's thinking before it",
    "convex": "disc and gen fused, scores averaged",
    "rrf": "disc and gen fused, by reciprocal ranks",
    "surer": "disc or gen, whichever leads by more",
}


def _oracle(values: Mapping[str, Values]) -> Values:
    return np.maximum(values["disc"], values["gen"])


def _better(both: Sequence[Mapping[str, Values]]) -> str:
    """Returns which of disc and gen has the higher mean over tasks: a gain over the worse one is no gain."""
    disc, gen = (sum(float(values[name].mean()) for values in both) for name in ("disc", "gen"))
    return "disc" if disc > gen else "gen"


def _null(one: Measured) -> Values:
    return np.asarray(best_of_pairs(one.samples) - one.samples.mean(axis=0), np.float64)
