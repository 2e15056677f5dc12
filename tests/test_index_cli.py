"""``ume-r1 index``: its options, what it says, how it exits; with a cheap encoder."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from made_files import write_pdf
from PIL import Image
from typer.testing import CliRunner

from ume_r1_rag.cli import model
from ume_r1_rag.cli.app import app
from ume_r1_rag.cli.model import running
from ume_r1_rag.cli.store import Address, storage_of
from ume_r1_rag.errors import InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest
from ume_r1_rag.template import PRESETS, get_preset


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*(n for n in os.environ if n.startswith("UME_R1_")), "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def encoder(monkeypatch, make_encoder):
    """The encoder that commands get; ``loads`` counts how often."""
    encoder = make_encoder()
    encoder.loads = 0

    def load(*of, **options):
        encoder.loads += 1
        return encoder

    monkeypatch.setattr(model, "load_encoder", load)
    return encoder


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    for number in range(3):
        (root / "sub" / f"{number}.txt").write_text(f"text {number}")
    Image.new("RGB", (20, 20), "red").save(root / "a.png")
    write_pdf(root / "b.pdf", 2)
    (root / "data.bin").touch()
    return root


@pytest.fixture
def place(tmp_path):
    return tmp_path / "index"


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def stored(place, **options):
    with QdrantIndex(place, **options) as index:
        return sorted(
            f"{hit.payload['ume_title']}{hit.payload.get('ume_page', '')}" for hit in index.scroll()
        )


ALL = ["a.png", "b.pdf1", "b.pdf2", "sub/0.txt", "sub/1.txt", "sub/2.txt"]


def test_index_tells_what_it_did(files, place, encoder):
    done = run("index", files, "-p", place)
    assert done.exit_code == 0, done.output
    first, second, *others = done.stdout.splitlines()
    assert first.startswith("indexed    6 documents in ")
    assert first.endswith(": page 2, image 1, text 3")
    assert second.endswith("which now holds 6: 6 with disc, 6 with gen")
    assert others == ["skipped    1 file", "  unknown extension '.bin': 1"]
    assert stored(place) == ALL

    (files / "a.png").unlink()
    (files / "sub" / "0.txt").write_text("changed")
    write_pdf(files / "b.pdf", 1, "other")
    lines = run("index", files, "-p", place, "--prune").stdout.splitlines()
    assert lines[0].endswith(": page 1, text 1, 2 of them replaced")
    assert lines[2:5] == [
        "unchanged  2 documents, left alone",
        "removed    1 part that files no longer have",
        "pruned     1 document of files that are gone",
    ]
    assert lines[5] == "  a.png: 1"
    assert stored(place) == ["b.pdf1", "sub/0.txt", "sub/1.txt", "sub/2.txt"]


def test_a_dry_run_loads_and_writes_nothing(files, place, encoder):
    done = run("index", files, "-p", place, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "to index   6 new and 0 replaced documents: page 2, image 1, text 3" in done.stdout
    assert "into       ume_r1, which would be made" in done.stdout
    assert not place.exists()
    assert encoder.loads == 0
    run("index", files, "-p", place)
    (files / "a.png").unlink()
    write_pdf(files / "b.pdf", 1, "other")
    done = run("index", files, "-p", place, "--dry-run", "--prune", "--mode", "both")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["1", "replaced,", "1", "removed", "b.pdf"]
    assert "to index   0 new and 1 replaced document: page 1" in lines
    assert "unchanged  3" in lines
    assert lines[lines.index("pruned     1 document of files that are gone") + 1] == "  a.png: 1"
    assert encoder.loads == 1
    assert stored(place) == ALL


def test_an_estimate_writes_nothing(files, place, encoder):
    done = run("index", files, "-p", place, "--estimate")
    assert done.exit_code == 0, done.output
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert found["documents"] == "6: page 2, image 1, text 3"
    assert found["sample"] == "6 documents: page 2, image 1, text 3"
    assert "hours) for mode both" in found["time"]
    assert found["size"].endswith(" kB on disk")
    assert found["tokens"] == "3 visual, 9 generated"
    assert not place.exists()
    run("index", files, "-p", place, "--mode", "disc")
    again = run("index", files, "-p", place, "--estimate", "--mode", "disc").stdout
    assert "documents  0\n" in again
    assert "tokens     0 visual, 0 generated\n" in again
    assert "6 unchanged" in again


def test_paths_from_a_list(files, place, encoder, tmp_path):
    wanted = f"{files / 'a.png'}\n\n{files / 'sub'}\n{files / 'absent.txt'}\n"
    (tmp_path / "list").write_text(wanted)
    done = run("index", "--files-from", tmp_path / "list", "-p", place)
    assert done.exit_code == 1
    assert "absent.txt does not exist" in done.stdout
    assert stored(place) == ["0.txt", "1.txt", "2.txt", "a.png"]
    done = run("index", files / "b.pdf", "--files-from", "-", "-p", place, input=f"{files / 'a.png'}\n")
    assert done.exit_code == 0, done.output
    assert stored(place)[-2:] == ["b.pdf1", "b.pdf2"]


def test_failures_are_listed_and_tried_again(files, place, encoder):
    refused = [True]
    encoder._fail = lambda one: InputError("not \x1b[31mred") if refused and one.text == "text 1" else None
    (files / "evil\x1b[2J.png").write_bytes(b"rubbish")
    done = run("index", files, "-p", place)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    listed = lines[lines.index("failed     2") + 1 :]
    assert [line.split()[0] for line in listed[:2]] == ["evil[2J.png", "sub/1.txt"]
    assert listed[1].endswith("  not [31mred")
    assert "\x1b" not in done.stdout
    shown = run("info", "--failures", "-p", place).stdout
    assert shown.splitlines()[0].split() == ["document", "tries", "last", "reason"]
    assert shown.splitlines()[3:] == ["", f"once mended: `ume-r1 index --retry-failed --path {place}`"]
    assert "\x1b" not in shown
    found = json.loads(run("info", "--failures", "--json", "-p", place).stdout)
    assert [(one["title"], one["attempts"], one["error"]) for one in found] == [
        ("evil\x1b[2J.png", 1, "InputError"),
        ("sub/1.txt", 1, "InputError"),
    ]
    refused.clear()
    encoder.calls.clear()
    done = run("index", "--retry-failed", "-p", place)
    assert done.exit_code == 1
    assert done.stdout.startswith("indexed    1 document in ")
    assert sum(number for *_, number in encoder.calls) == 1
    (files / "evil\x1b[2J.png").unlink()
    assert run("index", files, "--prune", "-p", place).exit_code == 0
    assert run("info", "--failures", "-p", place).stdout == "no failures\n"


def test_a_failure_whose_file_is_gone_is_not_to_be_mended(files, place, encoder):
    (files / "broken.png").write_bytes(b"rubbish")
    (files / "worse.png").write_bytes(b"rubbish")
    assert run("index", files, "-p", place).exit_code == 1
    (files / "broken.png").unlink()
    shown = run("info", "--failures", "-p", place).stdout
    assert "1 of 2 are of files that are gone: `ume-r1 index --prune FOLDER`" in shown
    assert "once mended: `" in shown
    (files / "worse.png").unlink()
    done = run("index", "--retry-failed", "-p", place)
    assert done.exit_code == 1
    for said in (done.stdout, run("info", "--failures", "-p", place).stdout):
        assert "`ume-r1 index --prune FOLDER`" in said
        assert "once mended" not in said
    assert run("index", "--prune", files, "-p", place).exit_code == 0
    assert run("info", "--failures", "-p", place).stdout == "no failures\n"


@pytest.mark.parametrize("act", [[], ["--dry-run"], ["--estimate"]], ids=str)
def test_where_there_is_nothing_to_index_that_is_said(tmp_path, place, encoder, act):
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("", "data.bin", ".hidden.png"):
        if name:
            (empty / name).touch()
        done = run("index", empty, "-p", place, *act)
        assert done.exit_code == 1
        assert f"nothing was found in {empty} that can be indexed: PDFs" in done.stderr
    assert run("index", "--retry-failed", "-p", place).exit_code == 0


def test_an_estimate_names_what_cannot_be_opened_in_a_straight_table(files, place, encoder):
    (files / "evil\x1b[2J.png").write_bytes(b"rubbish")
    write_pdf(files / "b.pdf", 1)
    (files / "b.pdf").write_bytes((files / "b.pdf").read_bytes()[:20])
    done = run("index", files, "-p", place, "--estimate")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert "failed     1 that cannot be opened" in lines
    assert lines[lines.index("failed     1 that cannot be opened") + 1].startswith("  b.pdf  ")
    assert "failed     1 of the sample" in lines
    assert "\x1b" not in done.stdout
    labelled = [line for line in lines[:-1] if not line.startswith("  ")]
    assert all(line[10] == " " and line[11] != " " for line in labelled)


def test_a_report_prints_as_lines(files, place, encoder):
    (files / "evil\x1b[2J.png").write_bytes(b"rubbish")
    with QdrantIndex(place, fingerprint=encoder.fingerprint) as index:
        lines = str(ingest(encoder, index, files)).splitlines()
        (files / "a.png").unlink()
        again = str(ingest(encoder, index, files, prune=True)).splitlines()
        nothing = str(ingest(encoder, index, files / "data.bin")).splitlines()
    assert re.fullmatch(r"indexed    6 documents in \d+\.\d s: page 2, image 1, text 3", lines[0])
    assert lines[1:4] == ["skipped    1 file", "  unknown extension '.bin': 1", "failed     1"]
    assert lines[4].startswith("  evil [2J.png: image ")
    assert again[1:4] == [
        "unchanged  5 documents, left alone", "pruned     1 document of files that are gone", "  a.png: 1"
    ]  # fmt: skip
    assert nothing[-1] == "nothing was found that could be indexed"


def test_pruning_that_is_refused_says_so_and_exits_with_1(files, place, encoder):
    run("index", files, "-p", place)
    for file in (files / "sub").iterdir():
        file.unlink()
    done = run("index", files, "-p", place, "--prune")
    assert done.exit_code == 1
    assert f"  kept 3: {files}/sub is empty, like a drive that is not mounted" in done.stdout
    assert stored(place) == ALL


def test_options_reach_the_library(files, place, encoder, monkeypatch):
    calls = []
    report = run("index", files, "-p", place, "--tenant", "a", "--no-reasoning", "--force", "--batch-size", 2)
    assert report.exit_code == 0, report.output
    with QdrantIndex(place, tenant="a") as index:
        assert index.count() == 6
        assert not any("It shows" in json.dumps(hit.payload) for hit in index.scroll())
    assert max(number for *_, number in encoder.calls) == 2
    assert stored(place) == []

    def spied(*of, **options):
        calls.append(options)
        raise InputError("enough")

    monkeypatch.setattr("ume_r1_rag.ingest.ingest", spied)
    storage = ["--storage", "datatype=float16", "--storage", "hnsw_m=32", "--storage", "on_disk=true"]
    done = run("index", files, "-p", place, "--collection", "c", "--segment", 5, "--bulk", *storage)
    assert done.stderr == "error: enough\n"
    assert (calls[0]["segment_s"], calls[0]["bulk"]) == (5, True)
    with QdrantIndex(place, collection="c") as index:
        assert (index.storage.datatype, index.storage.hnsw_m, index.storage.on_disk) == ("float16", 32, True)
        assert index.store_reasoning


def test_a_model_with_one_space_needs_no_mode(files, place, monkeypatch, make_encoder):
    monkeypatch.setattr(model, "load_encoder", lambda *of, **options: make_encoder(spaces=["disc"]))
    done = run("index", files, "-p", place)
    assert done.exit_code == 0, done.output
    assert "6 with disc, 0 with gen" in done.stdout
    refused = run("index", files, "-p", place, "--mode", "both")
    assert refused.exit_code == 1
    assert "this encoder has no gen vectors" in refused.stderr


def test_a_collection_says_how_it_is_added_to(files, place, monkeypatch, make_encoder):
    preset = json.loads(json.dumps(asdict(PRESETS["paper"])))
    asked = []

    def load(name, preset="serving", think="full", revision=None, batch_size=32, run=None):
        asked.append((name, get_preset(preset).name, think, revision))
        return make_encoder(
            model=name, preset=json.loads(json.dumps(asdict(get_preset(preset)))), think=think, revision="abc"
        )

    monkeypatch.setattr(model, "load_encoder", load)
    first = ["--model", "m/new", "--preset", "paper", "--think", "64"]
    assert run("index", files / "sub", "-p", place, *first).exit_code == 0
    # What any other would be is refused, so the environment counts for new collections alone.
    monkeypatch.setenv("UME_R1_PRESET", "mteb")
    monkeypatch.setenv("UME_R1_MODEL", "m/other")
    for arguments in (["-p", place], ["-p", place, "--estimate"]):
        done = run("index", files, *arguments)
        assert done.exit_code == 0, done.output
    assert asked == [("m/new", "paper", 64, None), *[("m/new", "paper", 64, "abc")] * 2]
    with QdrantIndex(place) as index:
        assert index.fingerprint["preset"] == preset
        assert index.coverage()["gen"] == 6
    done = run("index", files, "-p", place, "--think", "none")
    assert "think: stored 64, this encoder 'none'" in done.stderr
    run("index", files / "a.png", "-p", place, "-c", "other", "-m", "m/other")
    assert asked[-1] == ("m/other", "mteb", "full", None)


@pytest.mark.parametrize("act", [[], ["--dry-run"], ["--estimate"]], ids=str)
def test_reasonings_are_not_made_where_none_are_unless_that_is_said(files, place, encoder, act):
    run("index", files / "sub", "-p", place, "--mode", "disc")
    encoder.calls.clear()
    done = run("index", files, "-p", place, *act)
    assert done.exit_code == 0, done.output
    assert "mode disc, as no document in ume_r1 has a gen vector: `ume-r1 enrich` adds them" in done.stderr
    assert {mode for _, mode, _ in encoder.calls} <= {"disc"}
    assert any(says in done.stdout for says in ("unchanged  3", "3 unchanged"))
    # Another tenant has nothing yet.
    done = run("index", files, "-p", place, "--tenant", "acme", *act)
    assert done.stderr == ""
    if not act:
        with QdrantIndex(place, tenant="acme") as index:
            assert index.coverage()["gen"] == 6
    done = run("index", files / "a.png", "-p", place, "--mode", "both", *act)
    assert done.stderr == ""
    if not act:
        run("index", files, "-p", place)
        with QdrantIndex(place) as index:
            assert index.coverage()["gen"] == 6


def test_the_flags_of_what_runs_a_model_are_given_back():
    given = running("vllm", ["max_num_seqs=8", "dtype=float32", "enforce_eager=true"])
    words = given.flags()
    assert words == [
        *("--backend", "vllm", "--engine", "max_num_seqs=8"),
        *("--engine", "dtype=float32", "--engine", "enforce_eager=true"),
    ]
    assert running("vllm", words[3::2]) == given
    assert running("auto", None, "http://host").flags() == ["--base-url", "http://host"]
    assert running("auto", None).flags() == []


def test_the_remedy_can_be_copied(tmp_path, files, encoder):
    (files / "broken.png").write_bytes(b"rubbish")
    place = tmp_path / "my index"
    options = ["-p", place, "-c", "c", "--tenant", "t", "-m", "nano", "--mode", "disc", "--batch-size", 4]
    done = run("index", files, *options, "--segment", 5, "--no-reasoning")
    listing, again = re.findall("`ume-r1 ([^`]*)`", done.stdout)
    where = ["--path", str(place), "--collection", "c", "--tenant", "t"]
    assert shlex.split(listing) == ["info", "--failures", *where]
    asked = ["--model", "nano", "--mode", "disc", "--batch-size", "4", "--segment", "5"]
    assert shlex.split(again) == ["index", "--retry-failed", *where, *asked]
    assert "broken.png" in run(*shlex.split(listing)).stdout
    Image.new("RGB", (9, 9)).save(files / "broken.png")
    assert run(*shlex.split(again)).stdout.startswith("indexed    1 document in ")
    assert run(*shlex.split(listing)).stdout == "no failures\n"


def test_what_a_cache_has_is_not_encoded_again(files, place, tmp_path, encoder):
    cache = tmp_path / "cache"
    (files / "broken.png").write_bytes(b"rubbish")
    options = ["-p", place, "--cache", cache]
    first = run("index", files, *options, "--mode", "disc")
    assert "cache      had 0 of 6" in first.stdout
    assert f"--mode disc --cache {cache}`" in first.stdout
    assert [file.name for file in cache.iterdir()] == ["embeddings.sqlite"]
    encoder.calls.clear()
    assert "cache      had 6 of 6" in run("index", files, *options, "--force").stdout
    assert encoder.calls == []
    run("index", files, *options, "--estimate", "--force")
    assert encoder.calls
    assert "cache      had 0 of 6" in run("index", files, *options, "--tenant", "acme").stdout
    assert "\ncache " not in run("index", files, "-p", place).stdout


def test_enriching_a_tenant_that_is_not_there_is_told(files, place, encoder):
    run("index", files, "-p", place, "--mode", "disc", "--tenant", "legal")
    done = run("enrich", "-p", place, "--tenant", "lega")
    assert done.exit_code == 1
    assert "tenant 'lega' has no documents in ume_r1: is that its name?" in done.stderr


def test_enrich_search_and_embed_take_a_cache(files, place, tmp_path, encoder, monkeypatch):
    run("index", files, "-p", place, "--mode", "disc")
    monkeypatch.setenv("UME_R1_CACHE", str(tmp_path / "cache"))
    run("enrich", "-p", place)
    encoder.calls.clear()
    other = tmp_path / "other"
    run("index", files, "-p", other, "--mode", "disc")
    assert {mode for _, mode, _ in encoder.calls} == {"disc"}
    encoder.calls.clear()
    assert "gen        6 of 6" in run("enrich", "-p", other).stdout
    assert encoder.calls == []
    for arguments in (["search", "text", "-p", other, "--json"], ["embed", "text", "--json"]):
        done = [run(*arguments) for _ in range(2)]
        assert [one.exit_code for one in done] == [0, 0], done[0].output
        assert len(encoder.calls) == 1
        encoder.calls.clear()
    assert run("embed", "text", "--cache", files / "a.png").exit_code == 2


def test_a_remedy_keeps_a_servers_password():
    address = Address(None, "http://name:secret@host", "ume_r1", None)
    assert address.options("http://host") == ["--url", "http://host"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a PATH, --files-from or --retry-failed"),
        (["--prune", "--retry-failed"], "--prune needs a PATH"),
        ([".", "--dry-run", "--estimate"], "give one of them"),
        ([".", "--estimate", "--prune"], "leave --prune and --retry-failed"),
        ([".", "--segment", "0"], "'--segment'"),
        ([".", "--mode", "text"], "'--mode'"),
        (["--files-from", "absent"], "cannot be read"),
        ([".", "--storage", "datatype"], "NAME=VALUE"),
        ([".", "--storage", "color=red"], "'color=red'"),
        ([".", "--storage", "datatype=float8"], "float8"),
    ],
)
def test_a_wrong_call_exits_with_2_before_anything_is_loaded(arguments, says, tmp_path, monkeypatch, encoder):
    monkeypatch.chdir(tmp_path)
    done = run("index", *arguments)
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert encoder.loads == 0
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import os, signal, sys, time
# As in a terminal; what is started in the background, as these tests may be, ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from hash_encoder import HashEncoder
from ume_r1_rag.cli import main, model

class Slow(HashEncoder):
    def encode_document(self, *of, **options):
        os.write(2, b"encoding\\n")  # whole: two windows are encoded at a time
        time.sleep(0.3)
        return super().encode_document(*of, **options)

model.load_encoder = lambda *of, **options: Slow()
sys.argv = ["ume-r1", *sys.argv[2:]]
main()
"""


def test_ctrl_c_ends_the_command_and_the_next_goes_on(tmp_path, place, encoder):
    files = tmp_path / "many"
    files.mkdir()
    for number in range(40):
        (files / f"{number:02}.txt").write_text(f"text {number}")
    tests = str(Path(__file__).parent)
    arguments = ["index", str(files), "-p", str(place), "--mode", "disc", "--batch-size", "4"]
    command = [sys.executable, "-c", SCRIPT, tests, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        assert process.stderr.readline() == "encoding\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.endswith("interrupted: what was written stays; the same command goes on from there\n")
    assert "Traceback" not in err
    assert out == ""
    had = len(stored(place))
    assert 4 <= had < 40
    done = run(*arguments)
    assert done.stdout.startswith(f"indexed    {40 - had} documents")
    assert len(stored(place)) == 40


def test_the_storage_that_is_said():
    assert storage_of(None) is None
    said = storage_of(["quantization=int8", "rescore=false", "oversampling=3.0", "shard_number=6"])
    assert (said.quantization, said.rescore, said.oversampling, said.shard_number) == ("int8", False, 3.0, 6)
