"""The speed benchmark: cells, scripts, what is judged and how, going on after a stop, and tiny real runs."""

import traceback
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from ume_r1_bench.speed import bench, compared, fleet, way
from ume_r1_bench.speed.answer import Burst
from ume_r1_bench.speed.bench import Options, run_speed_bench
from ume_r1_bench.speed.card import CardRunner
from ume_r1_bench.speed.cell import DISC, KINDS, Cell, grid
from ume_r1_bench.speed.encoders import EncoderRunner
from ume_r1_bench.speed.figure import Alike, Figure
from ume_r1_bench.speed.fleet import Fleet
from ume_r1_bench.speed.goal import judge
from ume_r1_bench.speed.item import items
from ume_r1_bench.speed.model import MODELS, RANDOM, write_random
from ume_r1_bench.speed.report import SpeedReport
from ume_r1_bench.speed.script import write_script
from ume_r1_bench.speed.way import ABOUT, WAYS, left_out
from ume_r1_bench.stores.errors import BenchError
from ume_r1_rag.checkpoints import nano_path
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError

TINY = Options(
    ["nano"], ["transformers", "card"], ["text"], tokens=[5], concurrency=[1, 2], requests=2, rounds=2
)


@pytest.fixture
def here(monkeypatch):
    """Runners in this process, so that a whole run takes seconds; a list of what they were asked."""
    from transformers.utils import logging

    asked, loud = [], logging.get_verbosity()

    class Here:
        def __init__(self, kind, *given):
            self._served = kind(*given)

        def call(self, method, *given):
            asked.append((method, *given))
            try:
                return getattr(self._served, method)(*given)
            except Exception as error:
                raise BenchError(f"failed: {traceback.format_exc()}") from error

        def __exit__(self, *exc):
            self._served.close()

    monkeypatch.setattr(fleet, "Worker", Here)
    monkeypatch.setattr(compared, "INPUTS", 2)
    monkeypatch.setattr(compared, "CAP", 12)
    yield asked
    logging.set_verbosity(loud)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script") / "nano-7"
    write_script(nano_path(), 7, folder)
    return folder


def figure(cell, which, seconds, **more):
    return Figure(cell, which, 8, seconds, seconds, [one / 8 for one in seconds], **more)


# ---- cells and inputs


def test_cheap_cells_come_first_and_every_cell_has_its_disc():
    cells = list(grid("nano", ["text", "image"], {DISC, 32}, [8, 1]))
    assert [(one.tokens, one.concurrency) for one in cells[::2]] == [(0, 1), (0, 8), (32, 1), (32, 8)]
    assert len(set(cells)) == len(cells) == 8
    assert Cell("nano", "text", 32, 8).disc in cells


def test_ways_that_share_an_engine_never_show_it_the_same_input():
    numbers = {}

    class Recorded:
        def call(self, which, method, *given):
            if method == "burst":
                numbers.setdefault(ABOUT[which].runner, []).extend(range(given[3], given[3] + given[4]))
            return Burst(1.0, 1.0, (1.0,))

    run = bench._Run(TINY, list(WAYS), {}, SpeedReport(meta={"load": [0, 0]}), None)
    for cell in grid("nano", ["text"], [32], [1, 8]):
        run._cell(Recorded(), cell, bench.tqdm(disable=True))
    assert set(numbers) == {about.runner for about in ABOUT.values()}
    for seen in numbers.values():
        assert len(set(seen)) == len(seen)
        assert max(seen) < 500_000  # where warming up begins


def test_inputs_are_the_same_every_time_and_no_two_alike():
    def shown(one):
        visuals = [*one.images, *(one.video or ())]
        return (one.text, *(image.tobytes() for image in visuals))

    for kind in KINDS:
        drawn = [shown(one) for one in items(kind, 0, 200)]
        assert len(set(drawn)) == 200
        assert [shown(one) for one in items(kind, 150, 50)] == drawn[150:]


# ---- scripted models


def test_a_scripted_model_writes_its_script_whatever_it_is_shown(scripted):
    runner = EncoderRunner(scripted)
    marker = runner.encoder.backend.markers.gen
    written = set()
    for kind in KINDS:
        for one in runner.answer("transformers", items(kind, 3, 2), 20):
            assert one.decoded == 7
            assert one.ids[-1] == marker
            assert one.gen is not None
            written.add(one.ids)
    assert len(written) == 1
    assert len(set(written.pop())) == 6


def test_a_model_that_does_not_keep_to_the_script_is_found_out(scripted):
    runner = EncoderRunner(scripted)
    assert len(runner.burst("transformers", "text", 7, 1, 0, 2).latencies) == 2
    with pytest.raises(BenchError, match="of 7 tokens where the model's script has 6"):
        runner.burst("transformers", "text", 6, 1, 0, 2)


@pytest.mark.parametrize("tokens", [2, 5000])
def test_a_script_has_room_for_so_many_tokens(tokens, tmp_path):
    with pytest.raises(ConfigError, match=f"{tokens} tokens: a script has 3 to 6"):
        write_script(nano_path(), tokens, tmp_path / "script")


def test_the_random_model_is_the_same_every_time_and_runs(tmp_path):
    small = {"num_hidden_layers": 1, "intermediate_size": 64}
    for name in ("a", "b"):
        write_random(tmp_path / name, 3, small)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    (one,) = EncoderRunner(tmp_path / "a").answer("transformers", items("image", 0, 1), 0)
    assert one.disc.shape == (768,)


# ---- figures and goals

SHORT, LONG = Cell("nano", "text", 32, 64), Cell("nano", "text", 400, 1)


def test_ratios_are_the_median_of_rounds():
    ours, other = figure(SHORT, "one-engine", [1.0, 1.0, 10.0]), figure(SHORT, "two-pass", [2.0, 3.0, 10.0])
    assert ours.times(other) == 2.0
    assert ours.rate == pytest.approx(2.0)
    burst = Burst(2.0, 1.0, (0.1,) * 19 + (1.1,), batch=4)
    assert Figure.of(SHORT, "card", 20, [burst]).p95_ms == pytest.approx(150)


def judged(*figures, alike=()):
    return {one.told: one for one in judge({(one.cell, one.way): one for one in figures}, alike)}


def test_goals_are_judged_in_the_cells_that_they_are_about():
    goals = judged(
        figure(SHORT, "one-engine", [1.0]),
        figure(SHORT, "unwatched", [1.0]),
        figure(SHORT, "two-pass", [1.49]),
        figure(SHORT, "mteb", [5.0]),
        figure(SHORT, "plain", [0.96]),
        figure(LONG, "one-engine", [1.0]),
        figure(LONG, "two-pass", [0.99]),
        figure(LONG, "mteb", [1.0]),
        alike=[Alike("nano", "mteb", None, 0.99995, 3, 4), Alike("nano", "two-pass", 0.9, 1.0, 4, 4)],
    )
    found = {
        told: (one.reached, one.met, one.by_processor, one.cells, one.worst) for told, one in goals.items()
    }
    short, long = "(nano, text, 32 tokens, 64 at once)", "(nano, text, 400 tokens, 1 at once)"
    assert found == {
        "cosine at least 0.9999 on the same ids": (
            False,
            2,
            None,
            3,
            "0.900000 (disc, vLLM, two passes, nano)",
        ),
        "at least 1.5 x vLLM, two passes, 32 tokens": (
            False,
            0,
            0,
            1,
            f"1.49 x, by the processor 1.49 x {short}",
        ),
        "not slower than vLLM, two passes, 400 tokens": (
            False,
            0,
            0,
            1,
            f"0.99 x, by the processor 0.99 x {long}",
        ),
        "at least 5 x mteb's wrapper, 64 at once": (
            True,
            1,
            1,
            1,
            f"5.00 x, by the processor 5.00 x {short}",
        ),
        "extraction at most 5% over plain generation": (
            True,
            1,
            1,
            1,
            f"+4%, by the processor +4% {short}",
        ),
    }


def test_extraction_that_costs_more_than_its_share_is_a_missed_goal():
    (goal,) = judged(figure(SHORT, "unwatched", [1.0]), figure(SHORT, "plain", [0.9])).values()
    assert not goal.reached
    assert goal.worst.startswith("+11%")


# ---- the report


@pytest.fixture
def report():
    gen = [figure(SHORT, "one-engine", [1.0, 1.0]), figure(SHORT, "two-pass", [2.0, 2.0])]
    disc = [figure(SHORT.disc, "one-engine", [0.25, 0.25])]
    broken = [replace(figure(SHORT, "card", []), failed="out of memory")]
    figures = {(one.cell, one.way): one for one in (*gen, *disc, *broken)}
    alike = [Alike("nano", "two-pass", 1.0, 0.99999, 11, 12)]
    return SpeedReport(figures, alike, {"mteb": "mteb is not installed"}, {"machine": "CPU", "load": [1, 2]})


def test_the_table_tells_everything(report):
    table = report.table()
    assert max(map(len, table.splitlines())) < 100
    rows = [line.split() for line in table.splitlines()]
    assert ["vLLM,", "two", "passes", "nano", "1.0000000", "0.9999900", "11/12"] in rows
    assert ["vLLM,", "one", "engine", "8.00", "1.00", "4.0"] in rows
    assert ["vLLM,", "two", "passes", "4.00", "0.50"] in rows
    assert "MISSED" not in table
    assert "left out  mteb's wrapper: mteb is not installed" in table
    said = " ".join(table.split())
    assert "failed the card's loop (nano, text, 32 tokens, 64 at once): out of memory" in said
    assert "guards against getting slower" in said


def test_a_report_comes_back_from_its_file(report, tmp_path):
    report.write(tmp_path / "speed.json")
    assert SpeedReport.read(tmp_path / "speed.json") == report
    assert not report.has(SHORT, ["one-engine", "card"])
    assert report.has(SHORT, ["one-engine", "two-pass"])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no figures of this benchmark"):
        SpeedReport.read(tmp_path / "other.json")


def test_the_picture_is_drawn(report, tmp_path):
    pytest.importorskip("matplotlib")
    from ume_r1_bench.speed.plot import draw

    draw(report, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


# ---- whole runs


def test_a_run_compares_times_and_goes_on_where_it_stopped(here, tmp_path):
    out = tmp_path / "speed.json"
    first = run_speed_bench(replace(TINY, concurrency=[1]), out, progress=False)
    assert [(one.way, one.same, one.inputs) for one in first.alike] == [("transformers", 2, 2)]
    assert min(first.alike[0].disc, first.alike[0].gen) > 0.99999
    assert {key: len(one.latencies) for key, one in first.figures.items()} == {
        (Cell("nano", "text", tokens, 1), which): 4
        for tokens in (DISC, 5)
        for which in ("transformers", "card")
    }
    # By turns, and who was first is last the next time.
    bursts = [one[1:] for one in here if one[0] == "burst" and one[3] == 5]
    assert [one[0] for one in bursts] == ["transformers", "card", "card", "transformers"]
    assert [one[4:] for one in bursts] == [(4, 2), (4, 2), (6, 2), (6, 2)]

    here.clear()
    again = run_speed_bench(TINY, out, progress=False)
    assert {one[4] for one in here if one[0] == "burst"} == {2}
    assert not any(one[0] == "shown" for one in here)
    assert first.figures.items() <= again.figures.items()
    assert len(again.figures) == 8
    assert SpeedReport.read(out) == again

    with pytest.raises(ConfigError, match="holds figures of rounds 2, and now it is 3"):
        run_speed_bench(replace(TINY, rounds=3), out, progress=False)


def test_a_way_that_fails_is_named_and_the_others_go_on(here, monkeypatch, tmp_path):
    def broken(self, way, wave, cap, watched=True):
        raise MemoryError("no room for hidden states")

    monkeypatch.setattr(CardRunner, "_prompts", broken)
    out = tmp_path / "speed.json"
    report = run_speed_bench(replace(TINY, concurrency=[1]), out, progress=False)
    disc, gen = Cell("nano", "text", DISC, 1), Cell("nano", "text", 5, 1)
    assert "TypeError" in report.figures[disc, "card"].failed
    assert not report.figures[gen, "card"].failed
    assert not report.figures[disc, "transformers"].failed
    monkeypatch.undo()
    assert not SpeedReport.read(out).has(disc, ["card"])


def test_a_runner_is_started_anew_after_a_failure(here, scripted):
    with Fleet(scripted, {}) as running:
        with pytest.raises(BenchError, match="where the model's script has 6"):
            running.call("transformers", "burst", "text", 6, 1, 0, 1)
        assert running.call("transformers", "burst", "text", 7, 1, 0, 1).batch is None


def test_a_runner_works_in_a_process_of_its_own(scripted):
    with Fleet(scripted, {}) as running:
        burst = running.call("card", "burst", "text", 7, 1, 0, 1)
    assert burst.seconds >= burst.latencies[0] > 0


def test_ways_without_their_package_are_left_out(monkeypatch, here):
    monkeypatch.setattr(way, "find_spec", lambda name: None)
    assert set(left_out(WAYS)) == {one for one in WAYS if ABOUT[one].needs}
    options = replace(TINY, ways=["one-engine", "transformers"], concurrency=[1], tokens=[3], rounds=1)
    report = run_speed_bench(options, progress=False)
    assert report.left_out == {"one-engine": "vllm is not installed"}
    assert {which for _, which in report.figures} == {"transformers"}
    with pytest.raises(ConfigError, match="no way can be run: one-engine: vllm is not installed"):
        run_speed_bench(replace(options, ways=["one-engine"]), progress=False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ways": ["fast"]}, "ways: 'fast' is unknown"),
        ({"kinds": ["sound"]}, "kinds: 'sound' is unknown"),
        ({"tokens": [2]}, "tokens=.2.: each must be at least 3"),
        ({"concurrency": []}, "concurrency: give one or more"),
        ({"rounds": 0}, "rounds=0: it must be at least 1"),
    ],
)
def test_options_that_cannot_be_measured_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        replace(TINY, **wrong)


def test_the_command_prints_the_table(here, tmp_path):
    out, picture = tmp_path / "speed.json", tmp_path / "speed.png"
    given = "bench speed --model nano --ways transformers --kinds text --tokens 4 --concurrency 1 --rounds 1"
    found = CliRunner().invoke(
        app, [*given.split(), "--requests", "1", "--out", str(out), "--plot", str(picture)]
    )
    assert found.exit_code == 0, found.output
    assert "nano, text, 4 tokens: requests/s, x one engine, gen:disc" in found.output
    assert out.exists()
    assert picture.exists()
    assert CliRunner().invoke(app, ["bench", "speed", "--tokens", "x"]).exit_code == 2


def test_the_help_names_every_way_and_default():
    shown = " ".join(CliRunner().invoke(app, ["bench", "speed", "--help"]).output.split())
    assert all(f"{name} " in shown for name in WAYS)
    assert "ume-r1 bench speed --out speed.json" in shown
    for default in (MODELS, bench.TOKENS, bench.CONCURRENCY, KINDS):
        assert ",".join(map(str, default)) in shown
    assert RANDOM in shown


# ---- vLLM


@pytest.mark.vllm
def test_stock_vllm_writes_the_script_and_the_official_way_encodes_it(vllm_backends, scripted):
    from conftest import VLLM

    from ume_r1_bench.speed.stock import StockRunner

    vllm_backends(None)
    runner = StockRunner(scripted, {name: value for name, value in VLLM.items() if name != "in_process"})
    try:
        for which in ("plain", "official"):
            assert len(runner.burst(which, "image", 7, 2, 0, 4).latencies) == 4
        shown = runner.shown("official", ["text"], 1, 20)
        assert all(vector is not None for vector in shown.vectors["text 0"])
        assert len(shown.written["text 0"]) == 6
    finally:
        runner.close()
