"""Page: the report of a run, complete in itself.

The page's own policy allows neither scripts nor requests, nor any style but the one in it, which is that of
``ume_r1_rag.results_page`` with a sheet of its own behind it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ume_r1_bench.mmeb.report.browser import browse
from ume_r1_bench.mmeb.report.figures import beside_published, compared, passed, tasks
from ume_r1_bench.mmeb.report.markup import text
from ume_r1_bench.mmeb.table import count_of

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.run import Run


def render_report(run: Run) -> str:
    """Returns the page of a run."""
    house = resources.files("ume_r1_rag.results_page").joinpath("page.css").read_text(encoding="utf-8")
    style = f"{house.strip()}\n{_asset('page.css')}"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    stamp = run.stamp
    model = str(stamp["encoder"].get("model") or "local")
    found = run.findings()
    return Template(_asset("page.html")).substitute(
        style=style,
        style_hash=f"sha256-{digest}",
        title=text(f"{model} on {run.options.suite.name}"),
        subtitle=text(_subtitle(run)),
        warning=_warning(run),
        published=beside_published(run),
        tasks=tasks(run),
        curve=_section("Repeated sampling", passed(run.curve())),
        analysis=_section("Disc beside gen", compared(found) if len(found) > 2 else ""),
        browser=browse(run.cards),
        stamp=text(json.dumps(stamp, indent=1)),
    )


def _subtitle(run: Run) -> str:
    stamp = run.stamp
    queries = sum(one.queries for one in run.results)
    by_name, by_content = run.duplication()
    valid = f" {run.validity()}." if run.validity() else ""
    kind = "an estimate from a part of the queries" if run.estimated else "all queries"
    return (
        f"Protocol {stamp['protocol']['name']}, {count_of(len(run.results), 'task')}, {queries} queries "
        f"({kind}), seed {stamp['seed']}, {stamp['measures']}. Points are hit@1 for image and video, linear "
        f"NDCG@5 for visdoc. A candidate occurs {by_name:.1f} times by name and {by_content:.1f} times by "
        f"content; each was encoded once.{valid}"
    )


def _warning(run: Run) -> str:
    """Returns what could not be read, in short."""
    lines = [f"{name}: {why}" for name, why in run.skipped.items()] + run.failed()
    if not lines:
        return ""
    shown = "".join(f"<li><bdi>{text(line)}</bdi></li>" for line in lines[:40])
    skipped, failed = count_of(len(run.skipped), "task"), count_of(len(run.failures), "content")
    told = f"{skipped} and {failed} could not be read"
    return f'<details class="trouble"><summary class="issue">{told}</summary><ul>{shown}</ul></details>'


def _section(title: str, content: str) -> str:
    return f'<section class="query"><h2>{text(title)}</h2>{content}</section>' if content else ""


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()
