"""A whole run on rows that the world writes: encoded once, stopped and gone on with, its losses told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from ume_r1_bench.mmeb import vectors as vectors_module
from ume_r1_bench.mmeb.contents import Contents
from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.modes import parse_modes
from ume_r1_bench.mmeb.options import Options
from ume_r1_bench.mmeb.output import read_summary
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.report import render_report
from ume_r1_bench.mmeb.row import Item, Query, TaskData
from ume_r1_bench.mmeb.run import run_mmeb
from ume_r1_bench.mmeb.score import Placed, score, similarities
from ume_r1_bench.mmeb.speed import run_speed
from ume_r1_bench.mmeb.suite import SUITES
from ume_r1_bench.mmeb.table import table
from ume_r1_bench.mmeb.task import TASKS
from ume_r1_bench.ranking import MEASURES, measure
from ume_r1_bench.world.mmeb import write_mmeb
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import BackendError, InputError

NAMES = ("VOC2007", "MSR-VTT", "ViDoRe_esg_reports_human_labeled_v2")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mmeb") / "data"
    write_mmeb(folder, 4, tasks=NAMES, progress=False)
    return folder


def options(world, out, modes=("disc",), tasks=NAMES, **given):
    chosen = tuple(TASKS[name] for name in tasks)
    return Options(
        world,
        out,
        SUITES["mini"],
        chosen,
        PROTOCOLS["v2.1"],
        tuple(parse_modes(modes)),
        online=False,
        **given,
    )


class Counting:
    """An encoder that notes how many inputs it was given, and may break off."""

    def __init__(self, encoder, after=None):
        self.encoder, self.after, self.calls, self.inputs = encoder, after, [], 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode_query(self, inputs, mode="disc", **given):
        return self._call(self.encoder.encode_query, inputs, mode, given)

    def encode_document(self, inputs, mode="disc", **given):
        return self._call(self.encoder.encode_document, inputs, mode, given)

    def _call(self, encode, inputs, mode, given):
        if self.after is not None and self.inputs >= self.after:
            raise KeyboardInterrupt
        self.calls.append(mode)
        self.inputs += len(inputs)
        return encode(inputs, mode, **given)


# ---- everything at once, with the real model


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory, nano_encoder):
    """One run of nano with all that there is to be had."""
    out = tmp_path_factory.mktemp("results")
    given = options(
        world, out, ("disc", "gen", "gen:disc", "gen@none:gen"), samples=2, ablate=True, batch=16, shown=2
    )
    encoder = Counting(nano_encoder)
    return run_mmeb(given, encoder), given, encoder


def test_disc_gen_and_samples_come_from_one_pass(whole):
    run, _, encoder = whole
    assert run.ok, (run.skipped, run.failures)
    assert encoder.calls.count("disc") == 0
    contents = {key for one in run.results for key in range(one.contents)}
    assert contents
    disc = next(count for name, count in run.encoded.items() if name.startswith("disc-"))
    gen = next(
        count for name, count in run.encoded.items() if name.startswith("gen-full-") and "batch" not in name
    )
    assert disc == gen


def test_every_mode_has_its_official_files_and_its_stamp(whole):
    run, given, _ = whole
    for folder in ("disc", "gen", "gen-to-disc", "gen-none-to-gen"):
        for task in NAMES:
            scores = json.loads((given.out / folder / f"{task}_score.json").read_text())
            assert set(scores) == {*MEASURES, "num_pred", "num_data"}
            lines = (given.out / folder / f"{task}_pred.jsonl").read_text().splitlines()
            assert len(lines) == scores["num_pred"] == 4
            first = json.loads(lines[0])
            assert isinstance(first["label"], list) is (task not in ("VOC2007", "MSR-VTT"))
            assert (first["rel_scores"] is None) is (task in ("VOC2007", "MSR-VTT"))
        summary = read_summary(given.out / folder / "summary.json")
        assert set(summary) == set(NAMES)
        metadata = json.loads((given.out / folder / "summary.json").read_text())["metadata"]
        assert metadata["stamp"]["protocol"]["name"] == "v2.1"
    stamp = json.loads((given.out / "results.json").read_text())["stamp"]
    assert stamp["encoder"]["weights"] == run.stamp["encoder"]["weights"]
    assert {"torch", "transformers", "ume-r1-rag"} <= stamp["versions"].keys()
    assert (stamp["seed"], stamp["suite"], stamp["samples"]) == (0, "mini", 2)


def test_all_is_refused_and_the_missing_are_named(whole):
    run, given, _ = whole
    told = json.loads((given.out / "results.json").read_text())["averages"]["gen"]
    assert "OK-VQA" in told["All"]["refused"]
    assert "value" not in told["All"]
    assert "value" in told["image/CLS"]
    assert "of mini's 14 tasks 11 were not asked for" in table(run)
    assert "refused" not in table(run)


def test_the_share_of_valid_generations_is_told(whole):
    run, _, _ = whole
    one = run.results[0]
    assert one.generated == one.queries + one.contents
    assert 0 < one.valid <= one.generated
    valid, made = sum(one.valid for one in run.results), sum(one.generated for one in run.results)
    told = f"{valid:,} of {made:,} generations valid"
    assert told in table(run)
    assert told in render_report(run)


def test_cards_with_a_valid_generation_come_first(whole):
    run, _, _ = whole
    for name in NAMES:
        flagged = [
            any(one.issue for one in card.rankings if one.name == "gen")
            for card in run.cards
            if card.task == name
        ]
        assert flagged == sorted(flagged)


def test_where_all_is_lost_there_is_no_score_and_the_reason_stands_once(world, tmp_path, nano_encoder):
    class Mute:
        name = "mute"

        def reason(self, inputs):
            yield from ((number, BackendError("it is silent")) for number in range(len(inputs)))

    given = options(world, tmp_path, ("ext",), ("VOC2007",), limit=2, reasoner=Mute())
    run = run_mmeb(given, nano_encoder)
    told = table(run)
    assert "all lost" in told
    assert told.count("it is silent") == 1
    assert f"it is silent ({len(run.failures)} times)" in told
    assert run.results[0].as_json()["modes"]["ext"]["hit@1"] is None
    assert all(one.mean is None for one in run.averages("ext"))
    assert "all lost" in render_report(run)


def test_the_command_asks_a_reasoner_that_is_down_before_anything_else(world, tmp_path, monkeypatch):
    monkeypatch.setattr("ume_r1_trainer.endpoint._FIRST_WAIT_S", 0.001)
    words = ["bench", "mmeb", "--data", str(world), "--tasks", "VOC2007", "--modes", "ext", "--out"]
    words += [str(tmp_path / "out"), "--reasoner", "http://127.0.0.1:9/v1", "--reasoner-model", "m"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code != 0
    told = " ".join(found.output.split())
    assert "m at http://127.0.0.1:9/v1 does not answer: no connection" in told
    assert "task 1" not in told


def test_the_analysis_has_all_its_figures(whole):
    run, _, _ = whole
    found = {one.name: one for one in run.findings()}
    wanted = ("disc", "gen", "oracle", "null, samples", "null, batches", "gap above null")
    for name in (*wanted, "none", "empty", "shuffled", "foreign", "convex", "rrf", "surer"):
        assert found[name].tasks == 3, name
        assert found[name].queries == 12, name
    assert found["oracle"].value >= max(found["disc"].value, found["gen"].value, found["surer"].value)
    assert [one.name for one in run.curve()] == ["pass@1", "pass@2"]
    assert run.curve()[1].value >= run.curve()[0].value
    by_mode = {one.task.name: one.scores["gen@none:gen"].mean(one.task.metric) for one in run.results}
    assert found["none"].value == pytest.approx(100 * np.mean(list(by_mode.values())))


def test_a_second_run_encodes_nothing_and_finds_the_same(whole, nano_encoder):
    run, given, _ = whole
    encoder = Counting(nano_encoder)
    again = run_mmeb(given, encoder)
    assert encoder.calls == []
    assert again.encoded == {}
    assert [one.as_json() for one in again.results] == [one.as_json() for one in run.results]
    assert again.findings() == run.findings()


def test_vectors_are_what_the_encoder_gives(whole, nano_encoder, world):
    _, given, _ = whole
    data = load_task(TASKS["VOC2007"], world, PROTOCOLS["v2.1"], online=False)
    store = vectors_module.Vectors(nano_encoder, given.out / "encodings")
    placed = Placed.of(data, store.contents)
    found = nano_encoder.encode(data.queries[0].item.to_input(), "both")
    for side_store, vector in ((store.disc(), found.disc), (store.gen("full"), found.gen)):
        kept = store.matrix(side_store, placed.queries[:1])[0]
        assert float(kept @ vector) > 0.999


# ---- stopping, sharding, other encoders


def test_a_run_that_was_killed_goes_on_where_it_was(world, tmp_path, make_encoder, monkeypatch):
    monkeypatch.setattr(vectors_module, "WINDOW", 8)
    given = options(world, tmp_path / "out")
    broken = Counting(make_encoder(), after=30)
    with pytest.raises(KeyboardInterrupt):
        run_mmeb(given, broken)
    rest = Counting(make_encoder())
    run = run_mmeb(given, rest)
    fresh = Counting(make_encoder())
    expected = run_mmeb(replace(given, out=tmp_path / "fresh"), fresh)
    assert broken.inputs + rest.inputs == fresh.inputs
    assert [one.as_json() for one in run.results] == [one.as_json() for one in expected.results]


def test_shards_together_encode_everything_once(world, tmp_path, make_encoder):
    given = options(world, tmp_path / "out")
    parts = [Counting(make_encoder()) for _ in range(3)]
    for at, part in enumerate(parts):
        assert run_mmeb(replace(given, shard=(at, 3)), part).results == []
    last = Counting(make_encoder())
    run = run_mmeb(given, last)
    assert last.inputs == 0
    assert all(part.inputs for part in parts)
    assert len(run.results) == 3
    whole = Counting(make_encoder())
    run_mmeb(replace(given, out=tmp_path / "whole"), whole)
    assert sum(part.inputs for part in parts) == whole.inputs


def test_another_encoder_reuses_nothing(world, tmp_path, make_encoder):
    given = options(world, tmp_path, tasks=("VOC2007",))
    run_mmeb(given, make_encoder())
    other = Counting(make_encoder(model="m2"))
    run_mmeb(given, other)
    fresh = Counting(make_encoder(model="m2"))
    run_mmeb(replace(given, out=tmp_path / "fresh"), fresh)
    assert other.inputs == fresh.inputs > 0


def test_a_limit_gives_an_estimate_and_says_so(world, tmp_path, make_encoder):
    run = run_mmeb(options(world, tmp_path, limit=2), make_encoder())
    assert [one.queries for one in run.results] == [2, 2, 2]
    assert run.estimated
    assert "estimates" in table(run)
    found = run.results[0]
    low, high = found.scores["disc"].interval("hit@1")
    assert high - low > 0.5, "two queries tell little"


# ---- what cannot be read


def test_a_task_that_is_not_there_is_skipped_and_told(world, tmp_path, make_encoder):
    run = run_mmeb(options(world, tmp_path, tasks=("MSVD", *NAMES)), make_encoder())
    assert not run.ok
    assert len(run.results) == 3
    assert "MSVD" in run.skipped
    assert "1 task could not be read" in table(run)


def test_an_input_that_fails_is_told_and_only_lowers_the_score(world, tmp_path, make_encoder):
    def fail(one):
        return InputError("this page is torn") if one.text and "Identify" in one.text else None

    run = run_mmeb(options(world, tmp_path), make_encoder(fail=fail))
    assert not run.ok
    lost = {one.task.name: one for one in run.results}
    assert lost["VOC2007"].scores["disc"].mean("hit@1") == 0
    assert lost["VOC2007"].lost == 4
    assert lost["MSR-VTT"].lost == 0
    assert "this page is torn" in table(run)
    again = Counting(make_encoder())
    mended = run_mmeb(options(world, tmp_path), again)
    assert mended.ok
    assert again.inputs == len(run.failures), "what failed is tried again, and nothing else"


def test_a_broken_picture_is_told(world, tmp_path, make_encoder):
    data = tmp_path / "data"
    shutil.copytree(world, data)
    picture = next((data / "image-tasks" / "VOC2007").rglob("*.png"), None) or next(
        path for path in (data / "image-tasks").rglob("*") if path.suffix in (".png", ".jpg")
    )
    picture.write_bytes(b"no picture")
    run = run_mmeb(options(data, tmp_path / "out"), make_encoder())
    assert len(run.failures) == 1
    assert len(run.results) == 3
    assert not run.ok


# ---- scores


def made(candidates, gold, scope="global", names=None):
    """A task of texts with one query."""
    items = {name: Item(text) for name, text in candidates.items()}
    query = Query("0", Item("what is asked"), names, dict.fromkeys(gold, 1.0))
    task = TASKS["MSVD" if scope == "global" else "VOC2007"]
    return TaskData(task, PROTOCOLS["v2.1"], (query,), items, len(items), 1)


def placed_scores(data, vectors, query):
    contents = Contents()
    placed = Placed.of(data, contents)
    return placed, similarities(placed, np.float32([query]), np.float32(vectors))


def test_candidates_of_one_vector_tie_wherever_they_stand():
    rng = np.random.default_rng(0)
    same, query = rng.standard_normal(64), rng.standard_normal(64)
    names = [f"c{at}" for at in range(33)]
    for gold in (0, 16, 32):
        data = made({name: name for name in names}, [names[gold]])
        placed, scores = placed_scores(data, [same] * 33, query)
        found = score(placed, scores, ["hit@1", "mrr@10"])
        assert found.mean("hit@1") == pytest.approx(1 / 33)
        assert found.rank[0] == 17


def test_gold_is_never_forced_in():
    """A gold that has no vector, or that nobody may rank, is not found; it takes no one's place either."""
    data = made({"a": "a", "b": "b"}, ["b"])
    placed, scores = placed_scores(data, [[1, 0], [np.nan, np.nan]], [1, 0])
    found = score(placed, scores, ["hit@1", "hit@10", "recall@10"])
    assert [found.mean(name) for name in found.values] == [0, 0, 0]
    assert found.first == (("a",),)
    absent = made({"a": "a", "b": "b"}, ["gone"])
    placed, scores = placed_scores(absent, [[1, 0], [0, 1]], [1, 0])
    assert score(placed, scores, ["hit@10"]).mean("hit@10") == 0


def test_a_local_query_ranks_its_own_candidates_alone():
    data = made({"a": "a", "b": "b", "c": "c"}, ["b"], scope="local", names=("b", "c"))
    placed, scores = placed_scores(data, [[1, 0], [0.5, 0], [0, 1]], [1, 0])
    found = score(placed, scores, ["hit@1"])
    assert found.mean("hit@1") == 1
    assert set(found.first[0]) == {"b", "c"}


def test_scores_are_those_of_plain_cosines(world, make_encoder, tmp_path):
    """Against the plain way: every vector anew, one dot product each."""
    encoder = make_encoder()
    run = run_mmeb(options(world, tmp_path), encoder)
    for one in run.results:
        data = load_task(one.task, world, PROTOCOLS["v2.1"], online=False)
        vectors = {
            name: encoder.encode_document(item.to_input()).disc for name, item in data.candidates.items()
        }
        values = []
        for query in data.queries:
            asked = encoder.encode_query(query.item.to_input()).disc
            names = query.candidates or tuple(data.candidates)
            cosines = np.round([float(vectors[name] @ asked) for name in names], 6)
            grades = [query.relevance.get(name, 0) for name in names]
            values.append(measure(cosines, grades, [one.task.metric])[one.task.metric])
        assert one.scores["disc"].mean(one.task.metric) == pytest.approx(np.mean(values), abs=1e-6)


def test_official_measures_are_a_switch(world, tmp_path, make_encoder):
    ours = run_mmeb(options(world, tmp_path / "ours"), make_encoder())
    theirs = run_mmeb(options(world, tmp_path / "theirs", official=True), make_encoder())
    assert theirs.stamp["measures"] == "official evaluator's"
    assert ours.stamp["measures"] == "ties shared"
    values = theirs.results[0].scores["disc"].values["hit@1"]
    assert set(values.tolist()) <= {0.0, 1.0}, "there a tie is broken, and never shared"


# ---- reasoning from outside


class Scripted:
    """A reasoner that knows one thing and fails at another."""

    name = "scripted"

    def __init__(self, fail=False):
        self.fail, self.asked = fail, []

    def reason(self, inputs):
        for number, one in reversed(list(enumerate(inputs))):
            self.asked.append(one)
            if self.fail and number == 0:
                yield number, BackendError("no answer")
            else:
                yield number, f"<think>It is number {number}.</think><answer>thing {number}"


def test_a_reasoning_from_outside_is_encoded_by_disc_with_the_input(world, tmp_path, make_encoder):
    encoder, reasoner = make_encoder(), Scripted()
    given = options(world, tmp_path, ("disc", "ext", "ext:disc"), tasks=("VOC2007",), reasoner=reasoner)
    run = run_mmeb(given, encoder)
    assert run.ok
    seen = [one.text for one in encoder.seen if one.text and "It is number" in one.text]
    assert len(seen) == len({id(one) for one in reasoner.asked})
    assert all("<think>" not in one and "thing" in one for one in seen)
    assert set(run.results[0].scores) == {"disc", "ext", "ext:disc"}
    assert run.stamp["reasoner"] == "scripted"
    shown = {ranking.name: ranking for ranking in run.cards[0].rankings}
    assert "It is number" in shown["ext"].reasoning


def test_a_reasoning_that_fails_is_told_and_its_item_is_lost(world, tmp_path, make_encoder):
    reasoner = Scripted(fail=True)
    run = run_mmeb(
        options(world, tmp_path, ("ext:disc",), tasks=("VOC2007",), reasoner=reasoner), make_encoder()
    )
    assert run.failures == ["no answer"]
    assert run.results[0].lost == 1


# ---- the command


def test_the_command_runs_reports_and_goes_on(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "mmeb", "--data", str(world), "--suite", "mini", "--model", "nano", "--limit", "2"]
    words += ["--tasks", "VOC2007,MSR-VTT", "--modes", "disc,gen", "--think", "none", "--report", "page.html"]
    words += ["--out", "out", "--samples", "0"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert "VOC2007" in found.output
    assert "gen@none" in found.output
    assert (tmp_path / "page.html").is_file()
    missing = CliRunner().invoke(
        app, [*words[:9], "1", "--tasks", "VOC2007,MSVD", "--modes", "disc", "--out", "out"]
    )
    assert missing.exit_code == 1
    assert "1 task could not be read" in missing.output
    assert "or give --hub" in missing.output
    assert missing.output.count("MSVD: ") == 1, "the name is told once"
    assert "task 1 of " in missing.output, "a log sees how far it is"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shard", "3/3"], "is no share"),
        (["--modes", "words"], "no mode"),
        (["--tasks", "MSVDD"], "did you mean"),
        (["--modes", "ext"], "give --reasoner URL --reasoner-model NAME"),
        (["--reasoner", "http://localhost:1/v1"], "together"),
    ],
)
def test_the_command_refuses_what_cannot_be_run(world, tmp_path, words, told):
    out = str(tmp_path / "out")
    found = CliRunner().invoke(
        app, ["bench", "mmeb", "--data", str(world), "--model", "nano", "--out", out, *words]
    )
    assert found.exit_code != 0
    assert told in " ".join(found.output.replace("│", " ").split())


def test_the_speed_of_both_ways_is_told_with_its_goals(world):
    found = run_speed(world, [TASKS["VOC2007"]], "nano", limit=2)
    assert found.in_rows > found.by_content
    assert min(found.ours.clock_s, found.ours.cpu_s, found.once.cpu_s, found.official.cpu_s) > 0
    assert ("met" in found.table()) or ("MISSED" in found.table())
    assert json.loads(found.to_json())["with_duplicates"] == pytest.approx(
        found.official.clock_s / found.ours.clock_s
    )
