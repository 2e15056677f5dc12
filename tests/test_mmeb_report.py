"""The report's page: complete in itself, harmless, with our row beside published ones."""

import html
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ume_r1_bench.mmeb.analysis import Finding, Measured
from ume_r1_bench.mmeb.card import Card, Ranking, Shown
from ume_r1_bench.mmeb.modes import parse_modes
from ume_r1_bench.mmeb.options import Options
from ume_r1_bench.mmeb.report import render_report
from ume_r1_bench.mmeb.report.figures import passed
from ume_r1_bench.mmeb.run import Run, TaskResult
from ume_r1_bench.mmeb.score import TaskScore
from ume_r1_bench.mmeb.suite import SUITES
from ume_r1_bench.mmeb.task import TASKS

EVIL = '"><script>alert(1)</script>\x1b[31m\u202e&'


def jpeg():
    out = BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "JPEG")
    return out.getvalue()


def ranking(name, rank, text="a reasoning"):
    first = (Shown("a", "first found", jpeg()), Shown("b", "b's own text", None, right=True))
    return Ranking(name, rank, first, text, f"summary of {text}")


def made(suite="mini", skipped=None, evil="", tasks=None):
    """A run of invented figures over some tasks, all of the suite by default."""
    names = tasks or SUITES[suite].tasks
    modes = tuple(parse_modes(["disc", "gen"]))
    options = Options(Path("data"), Path("out"), SUITES[suite], tuple(TASKS[n] for n in names), modes=modes)
    stamp = {
        "protocol": {"name": "v2.1"},
        "encoder": {"model": f"nano{evil}"},
        "seed": 0,
        "measures": "ties shared",
    }
    run = Run(options, stamp, skipped=skipped or {})
    rng = np.random.default_rng(0)
    for name in names:
        task = TASKS[name]
        values = {mode: rng.integers(0, 2, 20).astype(float) for mode in ("disc", "gen")}
        scores = {
            mode: TaskScore({task.metric: found}, np.ones(20), (("a",),) * 20)
            for mode, found in values.items()
        }
        measured = Measured(values, rng.integers(0, 2, (3, 20)).astype(float))
        run.results.append(TaskResult(task, 20, 60, 30, 90, 25, scores, measured, 0))
    query = Shown("", f"what is this?{evil}", jpeg())
    samples = (ranking("sample 1", 1, f"first thought{evil}"), ranking("sample 2", 4, "second thought"))
    gold = (Shown("b", f"gold{evil}", None, right=True),)
    rankings = (ranking("disc", 3, ""), ranking("gen", 1, f"thinking{evil}"))
    run.cards.append(Card(names[0], "image/CLS", "7", "gen alone", query, gold, 12, rankings, samples))
    return run


class Checker(HTMLParser):
    """Notes tags that were never closed, and attributes that could act."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.wrong += [name for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def checked(page):
    checker = Checker()
    checker.feed(page)
    return checker


def test_the_page_is_complete_and_well_formed():
    page = render_report(made())
    checker = checked(page)
    assert checker.open == []
    assert checker.wrong == []
    assert not {"script", "iframe", "form"} & checker.tags
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "it asks for nothing"
    assert "default-src 'none'" in page


def test_all_text_is_escaped():
    page = render_report(made(skipped={"MSVD": f"not there{EVIL}"}, evil=EVIL))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert checked(page).wrong == []


def test_ranks_reasonings_and_samples_stand_side_by_side():
    page = html.unescape(render_report(made()))
    for told in ("right at rank 1", "right at rank 3", "right at rank 4", "gen finds, disc misses"):
        assert told in page
    for told in ("thinking", "summary of thinking", "first thought", "second thought", "what is this?"):
        assert told in page
    assert page.count("data:image/jpeg;base64,") >= 5
    assert "<details open>" in page, "samples that disagree are shown at once"


def test_our_rows_stand_beside_published_ones_with_their_protocols():
    page = html.unescape(render_report(made("mmeb-v2")))
    for told in ("UME-R1", "VLM2Vec-V2", "ume-r1-paper", "v2.0.1", "arXiv 2511.00405"):
        assert told in page, told
    rows = re.findall(r"<tr class=\"[^\"]*\"><th class=\"who\">.*?</tr>", page)
    assert any("60.1" in row and "66.6" in row and "63.9" in row for row in rows)
    assert sum('class="ours"' in row for row in rows) >= 2
    # HatefulMemes as the paper's Table 5 has it, beside our task.
    (task,) = re.findall(r"<h3><a href=\"#task-HatefulMemes\">.*?</li>", page)
    assert "UME-R1-2B 75.2 (ume-r1-paper)" in task


def test_an_average_is_refused_while_tasks_are_missing():
    page = render_report(made("mini", tasks=("VOC2007", "MSR-VTT")))
    ours = re.findall(r'<tr class="ours">.*?</tr>', page)[0]
    assert "tasks are missing" in ours
    complete = re.findall(r'<tr class="ours">.*?</tr>', render_report(made("mini")))[0]
    assert "tasks are missing" not in complete


def test_what_could_not_be_read_is_told():
    page = render_report(made(skipped={"MSVD": "its rows are gone"}))
    assert "1 task and 0 contents could not be read" in page
    assert "MSVD: its rows are gone" in page
    assert "could not be read" not in render_report(made())


@pytest.mark.parametrize("values", [(10, 20, 30, 35), (0, 0), (100, 100, 100), (50, 95)])
def test_the_curve_stays_within_its_frame(values):
    curve = [
        Finding(f"pass@{k}", "", v, max(0, v - 5), min(100, v + 5), 2, 40) for k, v in enumerate(values, 1)
    ]
    drawn = passed(curve)
    points = [tuple(map(float, one.split(","))) for one in re.findall(r"[\d.]+,[-\d.]+", drawn)]
    assert len(points) == 3 * len(values)
    assert all(0 <= x <= 560 and 0 <= y <= 240 for x, y in points)
    assert passed(curve[:1]) == ""


def test_official_mode_says_so_and_an_empty_run_has_a_page():
    run = made(tasks=("VOC2007",))
    run.results.clear()
    run.cards.clear()
    assert checked(render_report(run)).open == []
