"""The command line: in process with one shared model, and twice as a real process."""

import copy
import json
import os
import re
import resource
import subprocess
import sys
import types
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from ume_r1_rag.cli import bench, doctor, model, options, screen, store, train, world
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError, MissingExtra
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.template import PRESETS, get_preset

ESCAPE = "evil\x1b[31m.png"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def ume(*arguments, **options):
    """Runs the installed command itself."""
    command = [Path(sys.executable).with_name("ume-r1"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*(n for n in os.environ if n.startswith("UME_R1_")), "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def loaded(monkeypatch, nano_encoder):
    """Commands get the shared model in place of loading their own."""

    def load(name, preset="serving", think="full", revision=None, batch_size=32, run=None):
        assert (name, get_preset(preset), revision) == ("nano", PRESETS["serving"], None)
        encoder = copy.copy(nano_encoder)
        encoder.think = think
        return encoder

    monkeypatch.setattr(model, "load_encoder", load)
    return nano_encoder


def fill(folder):
    for name, colour in (("red.png", "red"), (ESCAPE, "blue")):
        picture = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(picture).ellipse((20, 20, 70, 70), fill=colour)
        picture.save(folder / name)
    pages = [Image.new("RGB", (200, 280), "white") for _ in range(2)]
    pages[0].save(folder / "two.pdf", save_all=True, append_images=pages[1:])
    (folder / "note.txt").write_text("a red circle")
    (folder / "broken.png").write_bytes(b"rubbish")
    (folder / "data.bin").write_bytes(b"\0")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder, indexed by the real command; returns its index and what the command said."""
    root = tmp_path_factory.mktemp("cli")
    (root / "files").mkdir()
    fill(root / "files")
    # Without thinking: how long a toy writes about pictures of another world is of no interest here.
    done = ume("index", root / "files", "--model", "nano", "--path", root / "index", "--think", "none")
    return root / "index", root / "files", done


def commands(group=None, names=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name)


def test_help_is_quick_and_loads_nothing_heavy():
    taken = []
    for _ in range(3):
        # Processor time: what it costs on a machine that has nothing else to do.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = ume("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0
    assert "Environment" in done.stdout
    assert min(taken) < 1
    heavy = (
        "torch transformers qdrant_client numpy PIL llama_index langchain_core ume_r1_trainer ume_r1_bench"
    )
    code = f"import sys, ume_r1_rag.cli.app; print([n for n in '{heavy}'.split() if n in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"


def test_without_a_command_it_prints_the_help():
    done = run()
    assert done.exit_code == 0
    assert done.output == run("--help").output
    assert run("--version").output.startswith("ume-r1-rag ")


@pytest.mark.parametrize("names", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_examples(names):
    done = run(*names, "--help")
    assert done.exit_code == 0
    _, examples = done.output.split("\n  Examples:\n")
    assert all(
        re.match(r"    ([A-Z_0-9]+=\S.* )?(ume-r1|curl|torchrun .*--no-python ume-r1) ", line)
        for line in examples.rstrip().splitlines()
    )
    assert f"ume-r1 {' '.join(names)}" in examples


def test_choices_are_those_of_the_library():
    import inspect
    from typing import get_args

    from ume_r1_bench.world import SPLITS
    from ume_r1_rag.template import INSTRUCTIONS, PRESETS

    assert set(get_args(options.Kind)) == set(INSTRUCTIONS)
    assert set(get_args(options.PresetName)) == set(PRESETS)
    assert get_args(world.Split) == SPLITS
    assert inspect.signature(QdrantIndex).parameters["collection"].default == options.DEFAULT_COLLECTION


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], "give a QUERY, --image or --video"),
        (["search", "x", "--think", "0"], "'0' is no budget"),
        (["search", "x", "--think", "little"], "'little' is no budget"),
        (["search", "x", "--mode", "both"], "'both'"),
        (["search", "x", "-k", "0"], "'-k'"),
        (["search", "x", "--html", "absent/page.html"], "does not exist"),
        (["info", "--path", "a", "--url", "b"], "give one of them"),
        (["index", "absent"], "absent"),
        (["embed"], "INPUT"),
        (["world", "make", "made", "--pairs", "5"], "--sft"),
        (["train", "sft", "--data", ".", "--output", "o", "--set", "lr"], "KEY=VALUE"),
        (["train", "sft", "--data", ".", "--output", "o", "--set", "steps=1"], "flag of its own"),
        (["nothing"], "nothing"),
    ],
)
def test_a_wrong_call_exits_with_2(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "x"], "'.ume-r1' holds no index"),
        (["info", "--path", "absent"], "'absent' holds no index"),
        (["embed", "x", "--model", "nonsense"], '"nano"'),
        (["embed", "x"], '"nano"'),
        (["download", "nonsense"], '"nano"'),
        (["train", "sft", "--data", ".", "--output", "o", "--set", "foo=1"], "unknown options: foo"),
        (["train", "sft", "--data", ".", "--output", "o", "--set", "lr=fast"], "lr='fast' must be"),
        (["train", "sft", "--data", ".", "--output", "o", "--recipe", "mega"], "mega"),
    ],
)
def test_our_errors_are_one_line_and_exit_with_1(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_index_names_what_failed_and_indexes_the_rest(filled):
    path, _, done = filled
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("indexed    5 documents in ")
    assert lines[0].endswith(": page 2, image 2, text 1")
    assert lines[1].endswith("which now holds 5: 5 with disc, 5 with gen")
    assert "  unknown extension '.bin': 1" in lines
    failed = lines[lines.index("failed     1") + 1 :]
    assert failed[0].startswith("  broken.png  ")
    assert failed[1:] == [
        (
            f"see `ume-r1 info --failures --path {path}`; once mended: "
            f"`ume-r1 index --retry-failed --path {path} --model nano --think none`"
        )
    ]
    assert "Traceback" not in done.stderr


def test_index_leaves_alone_what_it_has_and_succeeds_where_nothing_fails(filled, tmp_path, loaded):
    files, path = filled[1], tmp_path / "index"
    for says in ("indexed    1 document in ", "unchanged  1 document, "):
        done = run("index", files / "red.png", "--model", "nano", "--path", path, "--mode", "disc")
        assert done.exit_code == 0, done.stderr
        assert says in done.stdout
        assert "which now holds 1: 1 with disc, 0 with gen" in done.stdout
    changed = run("index", files / "red.png", "-m", "nano", "-p", path, "--think", "none")
    assert changed.exit_code == 1
    assert "think: stored 'full', this encoder 'none'" in changed.stderr


def test_info_tells_what_a_collection_holds(filled):
    path = filled[0]
    found = json.loads(run("info", "--path", path, "--json").stdout)
    assert found["points"] == 5
    assert found["kinds"] == {"page": 2, "image": 2, "text": 1}
    assert (found["coverage"]["disc"], found["coverage"]["gen"]) == (5, 5)
    # The text has words of its own; what nano says of the others without thinking is its business.
    assert found["coverage"]["text"] >= 1
    assert found["coverage"]["text"] + found["title_only"] == 5
    assert found["fingerprint"]["model"] == "nano"
    assert found["fingerprint"]["think"] == "none"
    assert found["bytes"] > 0
    shown = run("info", "--path", path).stdout
    assert "documents   5: page 2, image 2, text 1\n" in shown
    assert found["fingerprint"]["weights"] in shown


def test_search_finds_the_model_and_the_think_budget_by_itself(filled, loaded):
    done = run("search", "a red circle", "--path", filled[0], "--explain", "--kind", "image")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "a red circle"
    assert lines[1].startswith("fused (convex of disc, gen, text): nano, 5 documents in ume_r1, ")
    assert sum(line.startswith("    scores    disc ") for line in lines) == 5
    assert "  two.pdf, page 2" in done.stdout
    assert "\x1b" not in done.stdout
    assert "evil[31m.png" in done.stdout
    assert max(len(line) for line in lines) <= 100


def test_search_by_picture_as_json_and_as_page(filled, loaded, tmp_path):
    path, files, _ = filled
    page = tmp_path / "page.html"
    done = run(
        "search", "--image", files / ESCAPE, "-p", path, "-k", 2, "--mode", "disc", "--json", "--html", page
    )
    assert done.exit_code == 0, done.stderr
    assert "\x1b" not in done.stdout
    found = json.loads(done.stdout)
    assert (found["query"], found["mode"], found["fusion"]) == ("evil[31m.png", "disc", None)
    first, second = found["hits"]
    # The picture itself: encoded as the documents were, it has their vector.
    assert (first["key"], first["title"]) == (str((files / ESCAPE).resolve()), ESCAPE)
    assert first["score"] == pytest.approx(1, abs=1e-4)
    assert (first["rank"], second["rank"], first["kind"]) == (1, 2, "image")
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.count("<img") == 3
    assert "\x1b" not in html
    text = run("search", files / ESCAPE, "-p", path, "--mode", "gen", "--fusion", "rrf").stdout
    assert text.splitlines()[1].startswith("gen: nano")


def test_search_thinks_as_it_is_told(filled, loaded):
    done = run("search", "a red circle", "-p", filled[0], "--mode", "gen", "--think", "8", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reasoning"]
    assert all(hit["scores"].keys() == {"gen"} for hit in found["hits"])


def test_search_in_a_held_or_absent_collection(filled):
    path = filled[0]
    absent = run("search", "x", "--path", path, "--collection", "other")
    assert absent.exit_code == 1
    assert "no collection 'other'" in absent.stderr
    with QdrantIndex(path):
        held = ume("search", "x", "--path", path, "--mode", "text")
    assert held.returncode == 1
    assert "QDRANT_URL" in held.stderr


def test_another_model_is_refused(filled, loaded, monkeypatch):
    other = copy.copy(loaded)
    other._weights = "another"
    monkeypatch.setattr(model, "load_encoder", lambda *_: other)
    done = run("search", "x", "--path", filled[0], "--model", "nano")
    assert done.exit_code == 1
    assert "written by another encoder (weights:" in done.stderr


def test_embed_reads_texts_and_files(filled, loaded, tmp_path):
    files = filled[1]
    target = tmp_path / "vectors.npz"
    given = ["a red circle", files / "red.png"]
    done = run("embed", *given, "--model", "nano", "--think", "none", "--out", target)
    assert done.exit_code == 0, done.stderr
    assert "a red circle  (text)" in done.stdout
    assert "red.png  (image)" in done.stdout
    assert f"disc {loaded.dimension}, gen {loaded.dimension} dimensions" in done.stdout
    with np.load(target) as saved:
        assert saved["inputs"].tolist() == [str(one) for one in given]
        assert saved["disc"].shape == saved["gen"].shape == (2, loaded.dimension)
        assert json.loads(str(saved["fingerprint"]))["think"] == "none"

    found = json.loads(run("embed", given[0], "-m", "nano", "--mode", "disc", "--json").stdout)
    assert len(found) == 1
    assert len(found[0]["disc"]) == loaded.dimension
    assert found[0]["gen"] is None
    assert found[0]["tokens"]["completion"] == 0


def test_embed_names_what_failed_and_embeds_the_rest(filled, loaded):
    files = filled[1]
    done = run("embed", "x", files / "broken.png", "-m", "nano", "--mode", "disc", "--json")
    assert done.exit_code == 1
    good, bad = json.loads(done.stdout)
    assert good["disc"]
    assert "broken.png" in bad["error"]
    assert done.stderr.startswith("error: ")
    named = run("embed", files / "two.pdf", "-m", "nano", "--mode", "disc")
    assert "two.pdf is read as text; `ume-r1 index` reads such files" in " ".join(named.stderr.split())


def test_doctor_says_what_would_run_and_why(loaded, monkeypatch):
    done = run("doctor", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["backend"]["name"] == loaded.backend.name
    assert found["backend"]["device"] == loaded.backend.device
    assert found["backend"]["dtype"] == loaded.backend.dtype
    assert found["models"]["nano"]["digest"] == loaded.fingerprint["weights"]
    assert found["models"]["default"]["name"] == "zhibinlan/UME-R1-2B"
    assert found["settings"]["fetch"] is False

    monkeypatch.setattr(doctor, "_torch", lambda: {"ok": False, "error": "ImportError: no torch"})
    monkeypatch.setenv("QDRANT_URL", "https://name:secret@host:6333")
    done = run("doctor")
    assert done.exit_code == 1
    assert "backend      none: torch (ImportError: no torch) cannot be imported: pip install" in done.stdout
    assert "https://host:6333" in done.stdout
    assert "secret" not in done.stdout


def test_doctor_reads_how_the_environment_was_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert doctor._environment()["branch"] is None
    record = {"torch": "as-found", "shim": True, "versions": {}}
    (tmp_path / doctor.RECORD).write_text(json.dumps(record))
    found = doctor._environment()
    assert (found["branch"], found["shim"]) == ("as-found", True)
    assert doctor._environment_line(found) == "as-found: torch as pip finds it, with the torchvision shim"


def test_download_says_where_a_model_is(nano_encoder):
    assert run("download", "nano").stdout == f"nano is in {nano_encoder.model_path}\n"


def test_world_make_writes_files(tmp_path):
    done = run("world", "make", tmp_path / "demo", "--split", "demo")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("wrote 8 queries, ")
    assert (tmp_path / "demo" / "questions.jsonl").is_file()
    done = run("world", "make", tmp_path / "train", "--split", "train", "--sft", "--pairs", 40)
    assert done.exit_code == 0, done.stderr
    records = (tmp_path / "train" / "UME-sft-train.jsonl").read_text().splitlines()
    assert done.stdout.startswith(f"wrote {len(records)} records, ")


def test_train_hands_its_options_on(tmp_path, monkeypatch):
    from ume_r1_trainer import sft
    from ume_r1_trainer.ranks import Ranks

    class Run:
        ranks, corpus = Ranks(), types.SimpleNamespace(left_out=2)

        def __init__(self, config, progress):
            self.config, self.step = config, 3
            runs.append(self)

        def train(self, progress):
            return Path(self.config.output) / "final"

    runs = []
    monkeypatch.setattr(sft, "Sft", Run)
    settings = ["--set", "lr=1", "--set", "optimizer=adamw", "--set", 'source_weights={"page_read": 2}']
    settings += ["--media-root", tmp_path, "--leave-out-faulty"]
    done = run("train", "sft", "--data", tmp_path, "--output", tmp_path / "o", "--steps", 7, *settings)
    assert done.exit_code == 0, done.stderr
    (made,) = runs
    assert (made.config.steps, made.config.lr, made.config.optimizer) == (7, 1, "adamw")
    assert made.config.source_weights == {"page_read": 2}
    assert (made.config.media_root, made.config.faults) == (str(tmp_path), "leave_out")
    assert "resumed at step 3 of 7" in done.stderr
    assert "2 rows were left out" in done.stderr
    assert "final" in done.stdout


def test_train_keeps_the_types_of_options():
    assert train._parsed(["symmetric=false", "preset=paper", "lr=3e-4"]) == {
        "symmetric": False,
        "preset": "paper",
        "lr": 3e-4,
    }


def test_bench_prints_the_table_and_exits_by_the_bars(tmp_path, monkeypatch):
    from ume_r1_bench import world_bench

    class Report:
        ok = True

        def table(self):
            return "the table"

    calls = []

    def bench_world(*arguments, **named):
        calls.append((arguments, named))
        return Report()

    monkeypatch.setattr(world_bench, "run_world_bench", bench_world)
    out = tmp_path / "out.json"
    arguments = ["--model", "nano", "--data", tmp_path, "--families", "a,b", "--families", "c", "--limit", 5]
    done = run("bench", "world", *arguments, "--control", "blank", "--think", "8", "--out", out)
    assert (done.exit_code, done.stdout) == (0, "the table\n")
    assert calls[0][0] == (tmp_path, "nano", ["a", "b", "c"], 5, "blank", [8], out, 0)
    Report.ok = False
    assert run("bench", "world", "--model", "nano", "--mode", "disc").exit_code == 1
    assert calls[1][0] == (None, "nano", None, None, None, (), None, 0)
    assert bench.EXAMPLES


def test_the_model_of_a_collection(monkeypatch):
    calls = []
    monkeypatch.setattr(model, "load_encoder", lambda *arguments: calls.append(arguments[:5]))
    own = replace(PRESETS["paper"], max_new_tokens=99)
    stored = {name: json.loads(json.dumps(asdict(preset))) for name, preset in PRESETS.items()}
    hub = {"model": "owner/name", "revision": "abc", "preset": stored["paper"], "think": 64}
    model.encoder_for(hub, None, None)
    model.encoder_for(hub, "nano", "none")
    monkeypatch.setenv("UME_R1_MODEL", "/models/mine")
    model.encoder_for(hub, None, None)
    model.encoder_for({"model": "local", "revision": None, "preset": stored["serving"]}, None, None)
    model.encoder_for(hub, None, None, "mteb", 8)
    model.encoder_for({"model": "m1"}, None, None)
    model.encoder_for({**hub, "preset": json.loads(json.dumps(asdict(own)))}, None, None)
    model.encoder_for({"model": "st:m2", "revision": "abc"}, None, None)
    assert calls == [
        ("owner/name", "paper", 64, "abc", 32),
        ("nano", "paper", "none", None, 32),
        ("owner/name", "paper", 64, "abc", 32),
        ("/models/mine", "serving", "full", None, 32),
        ("owner/name", "mteb", 64, "abc", 8),
        ("m1", "serving", "full", None, 32),
        ("owner/name", own, 64, "abc", 32),
        ("st:m2", "serving", "full", "abc", 32),
    ]
    monkeypatch.delenv("UME_R1_MODEL")
    with pytest.raises(ConfigError, match="pass --model DIR"):
        model.encoder_for({"model": "local", "preset": stored["serving"]}, None, None)


def test_the_place_of_an_index(monkeypatch):
    assert store.place(None, None) == {"path": ".ume-r1"}
    monkeypatch.setenv("QDRANT_URL", "http://host")
    assert store.place(None, None) == {}
    monkeypatch.setenv("UME_R1_PATH", "there")
    assert store.place(None, None) == {"path": "there"}
    assert store.place(Path("here"), None) == {"path": Path("here"), "url": None}
    assert store.place(None, "http://other") == {"path": None, "url": "http://other"}
    assert store.place(None, "http://other", grpc=True)["prefer_grpc"] is True
    with pytest.raises(typer.BadParameter, match="'here' is a folder: gRPC is spoken to a server"):
        store.place(Path("here"), None, grpc=True)


def test_an_absent_extra_is_named():
    with pytest.raises(MissingExtra, match=r"pip install 'ume-r1-rag\[train\]'"), model.needs("train"):
        raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
    with pytest.raises(ModuleNotFoundError, match="of ours"), model.needs("train"):
        raise ModuleNotFoundError("of ours", name="ume_r1_trainer.absent")


def test_text_for_a_terminal():
    assert screen.clean("a\x1b]0;title\x07b\r\nc\x9b2J\u202ed\udc80") == "a]0;titleb c2Jd\\udc80"
    assert screen.clean(" a\tb\r\nc ", lines=True) == "a b\nc"
    assert json.loads(screen.to_json({"a": "\x9b\u202e\n"})) == {"a": "\x9b\u202e\n"}
    assert "\u202e" not in screen.to_json(["\u202e"])
    assert screen.fit("short", 5) == "short"
    assert screen.fit("漢字漢字", 5) == "漢字…"
    assert screen.pad("漢", 4, ">") == "  漢"
    text = screen.table(["#", "name"], [["1", "a" * 50], ["10", "b"]], [">", "<"], 20)
    assert text.splitlines() == [" #  name", f" 1  {'a' * 15}…", "10  b"]
