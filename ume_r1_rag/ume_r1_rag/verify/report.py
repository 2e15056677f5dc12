"""What a verification found, as a table for people and as JSON to be posted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        name: what was looked at.
        value: what was found; None if it could not be had.
        goal: the least that passes; None where there is none.
        note: in words.
    """

    name: str
    value: float | None
    goal: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it passes."""
        return self.goal is None or (self.value is not None and self.value >= self.goal)


@dataclass(frozen=True, slots=True)
class Report:
    """A verification.

    Attributes:
        model: name and digest of the checkpoint.
        machine: what it ran on; no name of a host, user or folder.
        versions: of the packages that matter.
        options: of vLLM.
        findings: in order.
        way: what ``way="auto"`` would take.
    """

    model: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str | None]
    options: Mapping[str, Any]
    findings: Sequence[Finding]
    way: str

    @property
    def ok(self) -> bool:
        """Whether all of it passes."""
        return all(one.ok for one in self.findings)

    def as_json(self) -> str:
        """Returns all of it."""
        return json.dumps(
            {
                "tool": "ume-r1 verify",
                "ok": self.ok,
                "way": self.way,
                "model": dict(self.model),
                "machine": dict(self.machine),
                "versions": dict(self.versions),
                "options": dict(self.options),
                "findings": [{**asdict(one), "ok": one.ok} for one in self.findings],
            },
            indent=2,
        )

    def table(self) -> str:
        """Returns it for a terminal."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items() if number)
        machine = ", ".join(str(value) for value in self.machine.values())
        rows = [("", "found", "goal", "")]
        rows += [
            (
                one.name,
                "-" if one.value is None else f"{one.value:.7g}",
                "" if one.goal is None else f">= {one.goal:g}",
                ("" if one.goal is None else "ok  " if one.ok else "MISSED  ") + one.note,
            )
            for one in self.findings
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"model    {self.model['name']} ({str(self.model['weights'])[:12]}), D {self.model['dimension']}",
            f"machine  {machine}",
            f"versions {versions}",
            f'way      "auto" takes {self.way}',
            "",
        ]
        for name, found, goal, note in rows:
            lines.append(f"{name:<{widths[0]}}  {found:>{widths[1]}}  {goal:<{widths[2]}}  {note}".rstrip())
        missed = sum(not one.ok for one in self.findings)
        lines += ["", "verified" if self.ok else f"NOT verified: {missed} of {len(self.findings)} missed"]
        return "\n".join(lines)
