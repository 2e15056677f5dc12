"""Claims: written down as promised, priced, judged by rule, and run end to end by nano's trial."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ume_r1_bench.claims import Check, load_claims
from ume_r1_bench.claims.claim import estimate
from ume_r1_bench.claims.judge import Judged, decide, judge, together
from ume_r1_bench.claims.page import page
from ume_r1_bench.claims.results import Figure, NoResult, read_figure
from ume_r1_bench.claims.run import ClaimRun
from ume_r1_bench.mmeb.modes import parse_mode
from ume_r1_bench.mmeb.published import published_rows
from ume_r1_bench.mmeb.run import folder_of
from ume_r1_bench.mmeb.suite import SUITES
from ume_r1_bench.mmeb.task import TASKS
from ume_r1_rag.checkpoints import nano_path, weights_digest
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import BackendError, ConfigError

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = load_claims().all
MODEL = "zhibinlan/UME-R1-2B"


def published(table, name, mode):
    return next(
        row
        for row in published_rows("mmeb-v2")
        if f"Table {table}" in row.source and row.name == name and row.mode == mode
    )


def write_scores(folder, scores):
    """Writes files as `ume-r1 bench mmeb` does, of scores in points."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, points in scores.items():
        (folder / f"{task}_score.json").write_text(json.dumps({TASKS[task].metric: points / 100}))


def mode_folder_of(folder, mode):
    made = folder / folder_of(parse_mode(mode))
    made.mkdir(parents=True)
    return made


def running(folder, run=None, **options):
    return ClaimRun(
        run or (lambda words: 0), options.pop("model", None), options.pop("data", None), folder, **options
    )


# ---- what is written down


def test_the_page_is_made_from_the_claims():
    made = page(load_claims())
    assert (ROOT / "docs" / "CLAIMS.md").read_text(encoding="utf-8") == made
    for name, claim in CLAIMS.items():
        assert f"\n## {name}\n" in made
        assert claim.otherwise in made
        assert all(check.what.removesuffix(" (no bar)") in made for check in claim.checks)


def test_every_claim_has_command_bar_price_and_consequence():
    for claim in CLAIMS.values():
        assert claim.run.command
        assert claim.run.hours > 0
        assert claim.run.estimated
        assert claim.run.machine
        assert len(claim.otherwise) > 40
        assert claim.source
        assert any(check.bar for check in claim.checks)
        assert claim.model == ("nano" if claim.trial else MODEL)
    assert [claim.name for claim in CLAIMS.values() if claim.trial] == ["nano-parity"]
    assert "NOT a claim about real weights" in CLAIMS["nano-parity"].source


def test_the_papers_figures_are_those_of_the_published_rows():
    def bars(name):
        return {check.key: check.expected for check in CLAIMS[name].checks}

    gen, disc = published("5", "UME-R1-2B", "gen"), published("3", "UME-R1 (Qwen2-VL-2B)", "disc")
    four = bars("four-tasks")
    assert four == {task: gen.scores[task] for task in four}
    assert set(four.values()) == {75.2, 80.0, 55.4, 83.1}
    assert bars("disc-78") == dict(disc.averages)
    oracle = published("1", "UME-R1 (Qwen2-VL-2B)", "oracle")
    assert bars("gen-78") == {name: gen.averages[name] for name in ("image", "video", "visdoc", "All")} | {
        "oracle": oracle.averages["All"]
    }
    loses, colpali = CLAIMS["vidore-loses"].checks[0], published("5", "ColPali v1.3", "")
    assert loses.expected == gen.averages["visdoc.VDRv1"] == 72.4
    assert CLAIMS["vidore-loses"].checks[1].at_most < colpali.averages["visdoc.VDRv1"] == 83.6


def test_the_cost_is_that_of_table_4():
    rates = {"CIRR": (20.0, 1.48), "FashionIQ": (19.1, 1.14), "K700": (1.59, 0.5), "MSVD": (28.0, 1.10)}
    for check in CLAIMS["cost"].checks[:4]:
        disc, gen = rates[check.key.partition("/")[0]]
        assert check.expected == pytest.approx(disc / gen, abs=0.06)
        assert check.within == pytest.approx(check.expected / 4, abs=0.1)


def test_hours_are_inputs_over_rates():
    rates = {"disc": {"still": 10.0}, "gen": {"still": 1.0, "video": 0.5}}
    inputs = {"disc": {"still": 36_000}, "gen": {"still": 3600, "video": 3600}}
    assert estimate(inputs, rates) == pytest.approx(1 + 1 + 2)
    assert 10 < CLAIMS["disc-78"].run.hours < 20 < CLAIMS["gen-78"].run.hours


def test_every_command_is_one_that_this_version_takes(tmp_path):
    import typer

    command = typer.main.get_command(app)
    for claim in CLAIMS.values():
        words = claim.run.words(model="nano", data=str(tmp_path), out=str(tmp_path))
        name = " ".join(words[: 1 if words[0] == "verify" else 2])
        group = command
        context = command.make_context("ume-r1", list(words))
        while hasattr(group, "resolve_command"):
            _, group, words = group.resolve_command(context, words)
            context = group.make_context(name, list(words), parent=context)
        assert context.params, name


# ---- judging


@pytest.mark.parametrize(
    ("bars", "figure", "verdict"),
    [
        ({"expected": 75.2, "within": 1.5}, Figure(76.7), "holds"),
        ({"expected": 75.2, "within": 1.5}, Figure(73.69), "fails"),
        ({"expected": 1536, "within": 0}, Figure(1536), "holds"),
        ({"expected": 1536, "within": 0}, Figure(3584), "fails"),
        ({"at_least": 0.5}, Figure(0.5), "holds"),
        ({"at_least": 0.5}, Figure(0.7, 0.4, 1.0), "undecided"),
        ({"at_least": 0.5}, Figure(0.2, -0.1, 0.6), "undecided"),
        ({"at_least": 0.5}, Figure(0.7, 0.6, 1.0), "holds"),
        ({"at_least": 0.5}, Figure(0.2, 0.1, 0.4), "fails"),
        ({"at_most": 1.0}, Figure(1.01), "fails"),
        ({}, Figure(123.0, 1.0, 200.0), "holds"),
        ({"at_least": 0.5}, Figure(float("nan")), "fails"),
    ],
)
def test_a_figure_is_judged_by_its_bar_and_its_interval(bars, figure, verdict):
    assert decide(Check("x", "task", **bars), figure) == verdict


def test_a_claim_is_as_good_as_its_worst_figure():
    def made(*verdicts):
        return together([Judged(Check("x", "task"), None, verdict) for verdict in verdicts])

    assert made("holds", "holds") == "holds"
    assert made("holds", "undecided") == "undecided"
    assert made("undecided", "could not run") == "could not run"
    assert made("could not run", "fails", "holds") == "fails"


# ---- reading what commands write


def test_the_papers_own_scores_pass_the_claims_about_them(tmp_path):
    folder = tmp_path / "gen-78"
    write_scores(folder / "gen", published("5", "UME-R1-2B", "gen").scores)
    found = [judge(check, folder) for check in CLAIMS["gen-78"].checks]
    assert [one.verdict for one in found] == ["holds"] * 4 + ["could not run"]
    assert "no analysis" in found[-1].why
    assert [judge(check, folder).verdict for check in CLAIMS["vidore-loses"].checks] == ["holds"] * 2
    shutil.copytree(folder, tmp_path / "four-tasks")
    assert {judge(check, tmp_path / "four-tasks").verdict for check in CLAIMS["four-tasks"].checks} == {
        "holds"
    }
    for tasks, verdict in ((78, "holds"), (77, "could not run")):
        finding = {"name": "oracle", "value": 64.1, "low": 63.9, "high": 64.3, "tasks": tasks}
        (folder / "results.json").write_text(json.dumps({"analysis": [finding]}))
        assert judge(CLAIMS["gen-78"].checks[-1], folder).verdict == verdict


def test_another_models_scores_fail_them(tmp_path):
    write_scores(tmp_path / "gen", published("5", "GME-7B", "").scores)
    assert [judge(check, tmp_path).verdict for check in CLAIMS["vidore-loses"].checks] == ["fails", "fails"]
    assert judge(CLAIMS["four-tasks"].checks[0], tmp_path).verdict == "fails"


def test_an_average_over_fewer_tasks_is_none(tmp_path):
    scores = dict(published("5", "UME-R1-2B", "gen").scores)
    del scores["MSVD"]
    write_scores(tmp_path / "gen", scores)
    image, video, _, every, _ = (judge(check, tmp_path) for check in CLAIMS["gen-78"].checks)
    assert image.verdict == "holds"
    assert (video.verdict, every.verdict) == ("could not run", "could not run")
    assert "MSVD" in video.why


def test_a_difference_is_paired_and_has_an_interval(tmp_path):
    def line(found, task):
        labels = ["a"]
        row = {"prediction": ["a" if found else "b", "c"], "label": "a", "rel_scores": None}
        if TASKS[task].modality == "visdoc":
            row |= {"label": labels, "rel_scores": [2.0]}
        return json.dumps(row)

    hits = {"gen": [1] * 60 + [0] * 40, "gen@none": [1] * 40 + [0] * 60}
    for mode, found in hits.items():
        folder = mode_folder_of(tmp_path, mode)
        for task in SUITES["mini"].tasks:
            text = "\n".join(line(hit, task) for hit in found)
            (folder / f"{task}_pred.jsonl").write_text(text)
    check = CLAIMS["thinking"].checks[0]
    figure = read_figure(check, tmp_path)
    assert figure.value == pytest.approx(20)
    assert figure.low < 20 < figure.high < 25
    assert decide(check, figure) == "holds"
    with pytest.raises(NoResult, match="gen@32"):
        read_figure(CLAIMS["thinking"].checks[1], tmp_path)
    (tmp_path / "gen" / "VOC2007_pred.jsonl").write_text(line(1, "VOC2007"))
    with pytest.raises(NoResult, match="1 queries in gen, 100 in gen@none"):
        read_figure(check, tmp_path)


def test_grades_count_in_a_difference(tmp_path):
    task = "ViDoSeek-doc"
    rows = [{"prediction": ["x", "a", "b"], "label": ["a", "b"], "rel_scores": [3.0, 1.0]}]
    from ume_r1_bench.claims.results import _values
    from ume_r1_bench.ranking import measure

    (tmp_path / f"{task}_pred.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import numpy as np

    own = measure(np.array([3.0, 2.0, 1.0]), np.array([0.0, 3.0, 1.0]), ["ndcg_linear@5"])["ndcg_linear@5"]
    assert _values(tmp_path, task)[0] == pytest.approx(own)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dimension", 1536.0), ("one engine: gen to transformers", 0.9995), ("valid generations of 64", 1.0)],
)
def test_what_verify_found_is_read_from_its_own_report(tmp_path, key, value):
    from ume_r1_rag.verify import Finding, Report

    findings = [
        Finding("one engine: gen to transformers", 0.9995, 0.99),
        Finding("valid generations of 64", 1.0, 0.5),
        Finding("one engine: disc to transformers", None, 0.99, "2 failed: out of memory"),
    ]
    report = Report({"name": "m", "weights": "w", "dimension": 1536}, {}, {}, {}, findings, "one engine")
    (tmp_path / "verify.json").write_text(report.as_json())
    check = next(check for check in CLAIMS["verify"].checks if check.key == key)
    assert read_figure(check, tmp_path).value == value
    with pytest.raises(NoResult, match="out of memory"):
        read_figure(CLAIMS["verify"].checks[1], tmp_path)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"forced": {}}', '{"forced": {"disc": "x"}}'])
def test_a_file_that_says_nothing_is_a_reason(tmp_path, text):
    if text is not None:
        (tmp_path / "parity.json").write_text(text)
    found = judge(CLAIMS["parity"].checks[0], tmp_path)
    assert found.verdict == "could not run"
    assert found.why


# ---- running


def test_a_trial_on_nano_end_to_end(tmp_path):
    out = tmp_path / "claims.json"
    words = ["claims", "run", "nano-parity", "--work", str(tmp_path / "work"), "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "holds          nano-parity" in done.output
    text = out.read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["verdicts"] == {"nano-parity": "holds"}
    (entry,) = record["claims"]
    assert entry["about_real_weights"] is False
    assert [check["verdict"] for check in entry["checks"]] == ["holds"] * 3
    assert 0 < entry["checks"][0]["value"] < 1e-5
    (model,) = record["models"]
    assert model == {"name": "nano", "revision": None, "weights": weights_digest(nano_path())}
    assert record["versions"]["torch"]
    assert "gpu" in record["machine"]
    for place in (str(tmp_path), str(Path.home()), str(ROOT)):
        assert place not in text


def test_what_cannot_run_says_why_and_the_rest_goes_on(tmp_path):
    calls = []

    def run(words):
        calls.append(words)
        if words[:2] == ["claims", "cost"]:
            raise BackendError(f"no room in {tmp_path}/data")
        write_scores(tmp_path / "gen-78" / "gen", published("5", "UME-R1-2B", "gen").scores)
        return 1 if words[1] == "mmeb" else 3

    weights = tmp_path / "copy"
    shutil.copytree(nano_path(), weights)
    (tmp_path / "data").mkdir()
    going = running(tmp_path, run, model=str(weights), data=tmp_path / "data", extra=["--backend", "vllm"])
    found = {name: going.decide(CLAIMS[name]) for name in ("cost", "vidore-loses", "gen-78", "verify")}
    assert {name: one.verdict for name, one in found.items()} == {
        "cost": "could not run",
        "vidore-loses": "holds",
        "gen-78": "could not run",
        "verify": "could not run",
    }
    assert found["cost"].why == "BackendError: no room in DATA"
    assert found["verify"].why == "the command ended with status 3"
    assert [words[:2] for words in calls].count(["bench", "mmeb"]) == 1, "one run serves both claims"
    assert calls[1][-2:] == ["--backend", "vllm"]
    going.write(tmp_path / "claims.json", list(found.values()))
    text = (tmp_path / "claims.json").read_text()
    assert str(tmp_path) not in text
    assert [model["name"] for model in json.loads(text)["models"]] == ["a folder"]


def test_missing_files_do_not_refute_a_score(tmp_path):
    claim, weights = CLAIMS["four-tasks"], tmp_path / "copy"

    def run(words):
        write_scores(tmp_path / "four-tasks" / "gen", {check.key: 50 for check in claim.checks})
        return 1

    def outcome():
        return running(tmp_path, run, model=str(weights), data=tmp_path).decide(claim)

    shutil.copytree(nano_path(), weights)
    assert outcome().verdict == "fails"
    (tmp_path / "four-tasks" / "results.json").write_text(json.dumps({"failures": ["a.png is not there"]}))
    found = outcome()
    assert found.verdict == "undecided"
    assert "1 inputs could not be encoded" in found.why


def test_a_claim_is_about_one_model(tmp_path):
    going = running(tmp_path, model="nano", data=tmp_path)
    found = going.decide(CLAIMS["four-tasks"])
    assert (found.verdict, found.why) == ("could not run", f"it is about {MODEL}, not nano")
    found = running(tmp_path, model=str(tmp_path / "gone")).decide(CLAIMS["verify"])
    assert found.verdict == "could not run"
    assert "neither a folder" in found.why
    assert "give --data" in running(tmp_path).decide(CLAIMS["four-tasks"]).why


def test_words_that_name_no_claim_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there are parity, verify"):
        load_claims().choose(["quick"])
    assert [one.name for one in load_claims().choose(["cost", "verify", "cost"])] == ["cost", "verify"]
    assert "nano-parity" not in [one.name for one in load_claims().choose([])]
    done = CliRunner().invoke(app, ["claims", "run", "quick", "--out", str(tmp_path / "c.json")])
    assert done.exit_code == 1
    assert "no claim is called 'quick'" in done.output
    assert not (tmp_path / "c.json").exists()


def test_a_command_in_this_process_ends_with_its_own_error():
    from ume_r1_rag.cli.claims import _in_process
    from ume_r1_rag.errors import CheckpointError

    with pytest.raises(CheckpointError, match="neither a folder"):
        _in_process(["claims", "parity", "--model", "no-such-model"])
    with pytest.raises(ConfigError, match="claims parity: No such option"):
        _in_process(["claims", "parity", "--bogus"])
    assert _in_process(["claims", "list"]) == 0


def test_claims_are_listed_and_shown():
    done = CliRunner().invoke(app, ["claims", "list"])
    assert done.exit_code == 0
    assert all(name in done.output for name in CLAIMS)
    names = [row["name"] for row in json.loads(CliRunner().invoke(app, ["claims", "list", "--json"]).output)]
    assert names == list(CLAIMS)
    assert CliRunner().invoke(app, ["claims", "list", "--markdown"]).output == page(load_claims())
    done = CliRunner().invoke(app, ["claims", "show", "thinking"])
    assert "the default think budget becomes none" in " ".join(done.output.split())
    assert "NOT a claim" in CliRunner().invoke(app, ["claims", "show", "nano-parity"]).output


def test_figures_are_read_from_what_the_benchmark_writes(tmp_path):
    from ume_r1_bench.world.mmeb import write_mmeb

    tasks = ("VOC2007", "MSVD")
    write_mmeb(tmp_path / "data", rows=2, tasks=tasks, progress=False)
    words = [
        *("bench", "mmeb", "--data", str(tmp_path / "data"), "--model", "nano"),
        "--tasks",
        ",".join(tasks),
    ]
    words += ["--modes", "disc,gen@none", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 0
    for mode in ("disc", "gen@none"):
        for task in tasks:
            figure = read_figure(Check("x", "task", mode=mode, key=task), tmp_path / "out")
            assert 0 <= figure.value <= 100
    assert judge(Check("x", "average", mode="disc", suite="mini", key="All"), tmp_path / "out").why
    found = judge(Check("x", "finding", suite="mini", key="disc"), tmp_path / "out")
    assert "is over 2 of the 14 tasks of mini" in found.why
    from ume_r1_bench.claims.results import _values

    by_query = _values(tmp_path / "out" / "disc", "VOC2007").mean()
    figure = read_figure(Check("x", "task", mode="disc", key="VOC2007"), tmp_path / "out")
    assert 100 * by_query == pytest.approx(figure.value)


# ---- cost


def test_cost_is_measured_on_a_tasks_own_inputs(tmp_path):
    from ume_r1_bench.world.mmeb import write_mmeb

    write_mmeb(tmp_path / "data", rows=2, tasks=["CIRR", "MSVD"], progress=False)
    out = tmp_path / "cost.json"
    done = CliRunner().invoke(
        app,
        [
            *("claims", "cost", "--data", str(tmp_path / "data"), "--model", "nano", "--preset", "serving"),
            *("--tasks", "CIRR,MSVD", "--concurrency", "1,2", "--limit", "2", "--max-new-tokens", "8"),
            *("--out", str(out)),
        ],
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(out.read_text())["rows"]
    assert [(row["task"], row["concurrency"], row["inputs"]) for row in rows] == [
        ("CIRR", 1, 2),
        ("CIRR", 2, 2),
        ("MSVD", 1, 2),
        ("MSVD", 2, 2),
    ]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["disc"] / row["gen"])
        assert min(row["disc"], row["gen"]) > 0
        assert row["tokens"] == 8
    assert read_figure(Check("x", "cost", key="MSVD/2"), tmp_path).value == rows[3]["ratio"]
    shutil.rmtree(next((tmp_path / "data").glob("video-tasks")))
    done = CliRunner().invoke(
        app,
        [
            *("claims", "cost", "--data", str(tmp_path / "data"), "--model", "nano", "--preset", "serving"),
            *(
                "--tasks",
                "MSVD",
                "--concurrency",
                "1",
                "--limit",
                "1",
                "--max-new-tokens",
                "8",
                "--out",
                str(out),
            ),
        ],
    )
    assert done.exit_code == 1
    assert "not measured: MSVD" in done.output
    with pytest.raises(NoResult, match="MSVD"):
        read_figure(Check("x", "cost", key="MSVD/1"), tmp_path)
