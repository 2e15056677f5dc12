"""Run: chosen claims' commands, one after another in this process, and a record of it that can be posted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ume_r1_bench.claims.claim import Claim, Run
from ume_r1_bench.claims.judge import Judged, Verdict, judge, together
from ume_r1_bench.claims.machine import machine, versions
from ume_r1_bench.claims.results import failures
from ume_r1_rag.checkpoints import Checkpoint, resolve_model, weights_digest
from ume_r1_rag.errors import UmeR1Error

Runner = Callable[[list[str]], int]
"""Runs ``ume-r1`` with some words in this process, and returns its exit status."""

SCHEMA = 1
"""Of the record."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim.

    Attributes:
        claim: the claim.
        verdict: of it.
        why: why it could not run.
        judged: its checks.
        seconds: of its command; 0 if that had run for another claim.
    """

    claim: Claim
    verdict: Verdict
    why: str
    judged: tuple[Judged, ...]
    seconds: float


@dataclass(slots=True)
class ClaimRun:
    """Claims on their way to verdicts.

    Attributes:
        run: runs a command.
        model: of which claims are run; None takes each claim's own.
        data: the benchmark's data, an absolute path; None if there are none.
        folder: where commands write, an absolute path.
        extra: words that are put behind every benchmark's command, such as ``--backend vllm``.
        tell: hears what is being done.
    """

    run: Runner
    model: str | None
    data: Path | None
    folder: Path
    extra: Sequence[str] = ()
    tell: Callable[[str], None] = lambda _: None
    _done: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    _models: dict[str, Checkpoint] = field(default_factory=dict)

    def decide(self, claim: Claim) -> Outcome:
        """Returns what becomes of a claim; its command is run once for all claims that need it."""
        model = self._model(claim)
        why = self._refusal(claim, model)
        if why:
            return Outcome(claim, "could not run", why, (), 0.0)
        folder = self.folder / claim.run.name
        new = (claim.run.name, model) not in self._done
        if new:
            self._done[claim.run.name, model] = self._execute(claim.run, model, folder)
        why, seconds = self._done[claim.run.name, model]
        if why:
            return Outcome(claim, "could not run", why, (), seconds if new else 0.0)
        judged = tuple(judge(check, folder) for check in claim.checks)
        reasons = dict.fromkeys(self._clean(one.why) for one in judged if one.why)
        verdict, failed = together(judged), failures(folder)
        if failed:
            reasons[f"{failed} inputs could not be encoded, and count as missed"] = None
            # Who is short of some files shall not refute a score that they would have raised.
            verdict = "undecided" if verdict == "fails" else verdict
        return Outcome(claim, verdict, "; ".join(reasons), judged, seconds if new else 0.0)

    def record(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """Returns all of it, to be posted."""
        return {
            "tool": "ume-r1 claims run",
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "verdicts": {one.claim.name: one.verdict for one in outcomes},
            "models": [self._about(found) for found in self._models.values()],
            "machine": machine(),
            "versions": versions(),
            "options": [self._clean(word) for word in self.extra],
            "claims": [self._entry(one) for one in outcomes],
        }

    def write(self, path: Path, outcomes: Sequence[Outcome]) -> None:
        """Writes the record; a run that is killed leaves what was decided before."""
        part = path.with_name(f"{path.name}.part")
        text = json.dumps(self.record(outcomes), indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)

    def _model(self, claim: Claim) -> str:
        return claim.model if self.model is None or claim.trial else self.model

    def _refusal(self, claim: Claim, model: str) -> str:
        """Returns why a claim cannot be tried with a model; empty if it can."""
        if claim.run.needs_data and self.data is None:
            return "it needs the benchmark's data: give --data, see `ume-r1 bench doctor`"
        try:
            found = self._models.get(model) or resolve_model(model)
        except UmeR1Error as error:
            return self._clean(str(error))
        self._models[model] = found
        wanted = claim.model.partition("@")[0]
        # A folder may hold a copy of the claimed weights: the record has its digest.
        folder = found.revision is None and not claim.trial and found.name != "nano"
        if not folder and found.name != wanted:
            return f"it is about {claim.model}, not {found.name}"
        return ""

    def _execute(self, run: Run, model: str, folder: Path) -> tuple[str, float]:
        """Runs a command, and returns why it could not be run, and its seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        words = run.words(model=model, data=str(self.data), out=str(folder))
        if run.needs_data:
            words += self.extra
        self.tell(self._clean(" ".join(["ume-r1", *words])))
        start = time.monotonic()
        try:
            status = self.run(words)
        except (UmeR1Error, OSError, ImportError) as error:
            return self._clean(f"{type(error).__name__}: {error}"), time.monotonic() - start
        # A goal that is missed, or an input that failed, ends with 1, and has figures all the same.
        why = "" if status in (0, 1) else f"the command ended with status {status}"
        return why, time.monotonic() - start

    def _entry(self, outcome: Outcome) -> dict[str, Any]:
        claim = outcome.claim
        return {
            "name": claim.name,
            "title": claim.title,
            "verdict": outcome.verdict,
            "why": outcome.why,
            "about_real_weights": not claim.trial,
            "command": " ".join(["ume-r1", *claim.run.words(model=claim.model, data="DATA", out="OUT")]),
            "seconds": round(outcome.seconds, 1),
            "checks": [self._checked(one) for one in outcome.judged],
            "otherwise": claim.otherwise,
        }

    def _checked(self, one: Judged) -> dict[str, Any]:
        figure: Mapping[str, Any] = asdict(one.figure) if one.figure else {"value": None}
        return {
            "what": one.check.what,
            "should_be": one.check.bar or None,
            **{name: value for name, value in figure.items() if name == "value" or value is not None},
            "verdict": one.verdict,
            **({"why": self._clean(one.why)} if one.why else {}),
        }

    def _about(self, found: Checkpoint) -> dict[str, Any]:
        named = found.revision is not None or found.name == "nano"
        return {
            "name": found.name if named else "a folder",
            "revision": found.revision,
            "weights": weights_digest(found.path, found.layout),
        }

    def _clean(self, text: str) -> str:
        """Returns a text without this machine's folders."""
        places = {str(self.folder): "OUT"} | ({} if self.data is None else {str(self.data): "DATA"})
        places |= {str(found.path): "MODEL" for found in self._models.values()}
        places |= {str(Path.home()): "~", os.getcwd(): "."}  # noqa: PTH109 -- as text, for replacing
        for place, word in sorted(places.items(), key=lambda one: -len(one[0])):
            if len(place) > 1:
                text = text.replace(place, word)
        return text
