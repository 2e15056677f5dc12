"""``docs/CLAIMS.md``, made from the claims; a test holds them equal."""

from __future__ import annotations

from collections.abc import Iterator

from ume_r1_bench.claims.claim import Check, Claim, Claims, Run

_HEAD = """# Claims

**Nobody here has run the real weights.** What follows was written down before: each claim with the command
that shows it, the figure and how far off it may be, the price, and what we do if it fails. Run some, and post
the JSON: that is how they are decided.

```sh
ume-r1 claims list
ume-r1 claims run parity verify --model zhibinlan/UME-R1-2B --out claims.json
ume-r1 claims run four-tasks --data MMEB-V2 --backend vllm --out claims.json
```

A claim **holds** if every figure is where it should be, **fails** if one is not, is **undecided** if the 95 %
interval of a figure reaches over a bar, and **could not run** with the reason. The JSON has figures,
versions, the GPU, the digest of the weights and times; no host, user or folder. A figure without a bar is
shown and decides nothing. `ume-r1 bench doctor --data DIR` says which data are missing and where they come
from.

Hours are inputs divided by {rates}. More at once is faster; how much is claim `cost`."""


def page(claims: Claims) -> str:
    """Returns the page as Markdown."""
    lines = [_HEAD.format(rates=claims.rates_source), "", *_table(claims), ""]
    for claim in claims.all.values():
        lines += [*_section(claim), ""]
    lines.append(
        "This page is made by `ume-r1 claims list --markdown` from `ume_r1_bench/claims/claims.json`."
    )
    return "\n".join(lines) + "\n"


def hours(run: Run) -> str:
    """Returns a run's hours for people."""
    if run.hours < 0.05:
        return "a minute"
    return f"{run.hours:.1f} h" if run.hours < 10 else f"{run.hours:.0f} h"


def command(run: Run, model: str) -> str:
    """Returns a run's command as it is typed."""
    words = run.words(model=model, data="DIR", out="OUT")
    return " ".join(["ume-r1", *words])


def bar(check: Check) -> str:
    """Returns what a figure should be."""
    return check.bar or "shown, no bar"


def _table(claims: Claims) -> Iterator[str]:
    yield "| claim | model | on | hours |"
    yield "| --- | --- | --- | --- |"
    for claim in claims.all.values():
        about = f"[{claim.name}](#{claim.name}): {claim.title}"
        yield f"| {' | '.join((about, claim.model, claim.run.machine, hours(claim.run)))} |"


def _section(claim: Claim) -> Iterator[str]:
    yield f"## {claim.name}"
    yield ""
    yield f"{claim.title}."
    if claim.trial:
        yield "**Not a claim about real weights.**"
    yield ""
    yield "```sh"
    yield command(claim.run, claim.model)
    yield "```"
    yield ""
    yield "| figure | should be |"
    yield "| --- | --- |"
    for check in claim.checks:
        yield f"| {check.what.removesuffix(' (no bar)')} | {bar(check)} |"
    yield ""
    yield f"- Source: {claim.source}."
    yield f"- Price: {hours(claim.run)}, {claim.run.machine} ({claim.run.estimated})."
    yield f"- If it fails: {claim.otherwise}"
