"""Claim: a statement with its command, its bars, its price and its consequence; read from ``claims.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, Literal

from ume_r1_rag.errors import ConfigError

Reader = Literal["parity", "verify", "task", "average", "finding", "difference", "cost"]

TRIAL: Final = "nano"
"""The model whose claims say nothing about real weights."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and what it should be; one without a bar is measured and shown.

    Attributes:
        what: in words.
        read: where the figure is found, see ``results``.
        key: which one there.
        mode: the benchmark's mode.
        less: the mode that is subtracted, of a ``difference``.
        suite: the benchmark's suite.
        expected: the figure.
        within: how far off it may be.
        at_least: the least it may be.
        at_most: the most it may be.
    """

    what: str
    read: Reader
    key: str = ""
    mode: str = ""
    less: str = ""
    suite: str = ""
    expected: float | None = None
    within: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bar(self) -> str:
        """What it should be, in short; empty where there is no bar."""
        if self.expected is not None:
            return f"{self.expected:g} ± {self.within:g}" if self.within else f"{self.expected:g}"
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it may be."""
        if self.expected is not None:
            return self.expected - (self.within or 0), self.expected + (self.within or 0)
        low, high = self.at_least, self.at_most
        return float("-inf") if low is None else low, float("inf") if high is None else high


@dataclass(frozen=True, slots=True)
class Run:
    """One command, which may serve several claims.

    Attributes:
        name: what its folder is called.
        command: the words after ``ume-r1``, with ``{model}``, ``{data}`` and ``{out}``.
        machine: what it needs.
        hours: on that machine.
        estimated: how that was estimated.
    """

    name: str
    command: tuple[str, ...]
    machine: str
    hours: float
    estimated: str

    @property
    def needs_data(self) -> bool:
        """Whether it wants the benchmark's data."""
        return "{data}" in self.command

    def words(self, **values: str) -> list[str]:
        """Returns the command's words with its fields filled in."""
        return [word.format(**values) for word in self.command]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        name: how it is asked for.
        title: what is claimed.
        model: of which model.
        run: the command that shows it.
        source: where the figures are from.
        checks: what must come out.
        otherwise: what follows if it fails.
    """

    name: str
    title: str
    model: str
    run: Run
    source: str
    checks: tuple[Check, ...]
    otherwise: str

    @property
    def trial(self) -> bool:
        """Whether it is a trial of the machinery, and no claim about real weights."""
        return self.model == TRIAL


@dataclass(frozen=True, slots=True)
class Claims:
    """All claims, in order.

    Attributes:
        all: by name.
        rates_source: where the rates are from by which hours are estimated.
    """

    all: Mapping[str, Claim]
    rates_source: str = field(default="")

    def choose(self, names: Sequence[str]) -> list[Claim]:
        """Returns the claims that are named, each once; all that are no trial if none is.

        Raises:
            ConfigError: there is no such claim.
        """
        unknown = [name for name in names if name not in self.all]
        if unknown:
            raise ConfigError(f"no claim is called {unknown[0]!r}: there are {', '.join(self.all)}")
        return [self.all[name] for name in dict.fromkeys(names)] or [
            claim for claim in self.all.values() if not claim.trial
        ]


def load_claims() -> Claims:
    """Returns the claims in the package."""
    file = resources.files("ume_r1_bench.claims") / "claims.json"
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    runs = {name: _run(name, entry, read["rates"]) for name, entry in read["runs"].items()}
    claims = {
        entry["name"]: Claim(
            entry["name"],
            entry["title"],
            entry["model"],
            runs[entry["run"]],
            entry["source"],
            tuple(Check(**check) for check in entry["checks"]),
            entry["otherwise"],
        )
        for entry in read["claims"]
    }
    return Claims(claims, read["rates"]["source"])


def _run(name: str, entry: Mapping[str, Any], rates: Mapping[str, Any]) -> Run:
    if "inputs" not in entry:
        return Run(name, tuple(entry["command"]), entry["machine"], entry["hours"], entry["estimated"])
    hours = estimate(entry["inputs"], rates)
    return Run(
        name, tuple(entry["command"]), str(rates["gpu"]), hours, f"{entry['counted']}; by Table 4's rates"
    )


def estimate(inputs: Mapping[str, Mapping[str, int]], rates: Mapping[str, Any]) -> float:
    """Returns the hours for some inputs.

    Args:
        inputs: mode → kind of input → how many.
        rates: mode → kind of input → inputs a second.
    """
    return sum(
        count / float(rates[mode][kind]) / 3600
        for mode, kinds in inputs.items()
        for kind, count in kinds.items()
    )
