"""The README: its Python runs as it stands, and its commands exist."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from served import wait_until
from typer.testing import CliRunner

from ume_r1_bench.world import make_world
from ume_r1_rag.cli.app import app
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands():
    """Every command line that begins with ``ume-r1``, in a shell block or in running text."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"`(ume-r1 [^`\n]+)`", README)
    return [line for line in lines if line.startswith("ume-r1 ")]


def follow(words):
    """Returns the names of the sub-command, the command itself and what is left of the words."""
    command, names = typer.main.get_command(app), []
    # By what it holds: typer may bring a click of its own.
    while getattr(command, "commands", None) is not None:
        assert words, f"{names} needs a sub-command"
        assert words[0] in command.commands, f"{words[0]!r} is none of {sorted(command.commands)}"
        command = command.commands[words[0]]
        names.append(words[0])
        words = words[1:]
    return names, command, words


def parse(line):
    """Raises for a command line that the program would refuse before it begins."""
    names, command, words = follow(shlex.split(line, comments=True)[1:])
    shown = CliRunner().invoke(app, [*names, "--help"])
    assert shown.exit_code == 0, shown.output
    for word in words:
        if word.startswith("-"):
            named = re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}(?![\w-])", shown.output)
            assert named, f"{' '.join(names)} --help does not name {word}"
        elif "/" in word:
            Path(word).mkdir(parents=True, exist_ok=True)
    command.make_context(names[-1], list(words))


def test_the_ten_lines_run_as_they_stand(tmp_path, monkeypatch, capsys):
    make_world(tmp_path / "demo", split="demo", progress=False)
    # Two pictures, a page and a clip do for this; the whole folder is the business of the demo's own test.
    files = {"shapes-01.png", "shapes-05.png", "bridge-report.pdf", "clip-01.mp4"}
    for file in (tmp_path / "demo" / "files").iterdir():
        if file.name not in files:
            file.unlink()
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("python") if "import ingest" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)

    said = capsys.readouterr().out
    found = names["found"]
    assert re.match(r"indexed    \d+ documents in [\d.]+ s: page \d+, image 2, clip 1\n", said)
    assert "failed" not in said
    assert (tmp_path / "my-index").is_dir()
    assert 1 <= len(found.hits) <= 5
    assert found.mode == "fused"
    assert {Path(hit.key.partition("#")[0]).name for hit in found.hits} <= files
    for hit in found.hits:
        assert set(hit.scores) == {"disc", "gen", "text"}
        assert f"\n{hit.key} {round(hit.score, 3)} " in said
    summaries = [hit.summary for hit in found.hits]
    assert any(summaries)
    assert all(summary in said for summary in summaries if summary)
    assert found.query_embedding.reasoning.strip()
    assert said.endswith(f"{found.query_embedding.reasoning}\n")


def test_the_lines_for_llama_index_run_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UME_R1_PAGE_IMAGES", str(tmp_path / "pages"))
    make_world(tmp_path / "demo", split="demo", progress=False)
    files = {"shapes-01.png", "shapes-05.png", "bridge-report.pdf", "clip-01.mp4"}
    for file in (tmp_path / "demo" / "files").iterdir():
        if file.name not in files:
            file.unlink()
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("python") if "llama_index" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all(any(name in line for name in files) and "'disc'" in line for line in said)
    assert names["embedding"].mode == "disc"
    section = README.partition("## In LlamaIndex")[2].partition("\n## ")[0]
    assert len(section.strip().splitlines()) <= 15


def test_the_langchain_lines_run_as_they_stand(tmp_path, monkeypatch, capsys, nano_encoder):
    (block,) = (block for block in blocks("python") if "langchain_ume_r1" in block)
    assert README.partition("## In LangChain")[2].partition("\n## ")[0].strip().count("\n") < 15
    make_world(tmp_path / "demo", split="demo", progress=False)
    files = tmp_path / "demo" / "files"
    with QdrantIndex(tmp_path / "my-index", fingerprint=nano_encoder.fingerprint) as index:
        ingest(nano_encoder, index, [files / "shapes-01.png", files / "shapes-05.png", files / "clip-01.mp4"])
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)

    assert capsys.readouterr().out.rstrip().endswith(" note")
    found = names["pages"]
    assert {document.metadata["title"] for document in found} == {"shapes-01.png", "shapes-05.png"}
    assert [part["type"] for part in names["message"]] == ["text", "image"] * 2
    names["retriever"].close()
    names["store"].close()
    names["embeddings"].close()


def test_the_readme_shows_the_commands_of_every_day():
    shown = {tuple(follow(shlex.split(line, comments=True)[1:])[0]) for line in commands()}
    assert shown >= {("index",), ("search",), ("world", "make"), ("train", "sft"), ("bench", "world")}


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_would_be_taken(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ume-r1 find x", "'find' is none of"),
        ("ume-r1 world", "needs a sub-command"),
        ("ume-r1 search x --explained", "does not name --explained"),
        ("ume-r1 world make w --split trian", "trian"),
    ],
)
def test_a_command_that_is_none_would_be_noticed(line, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, click.ClickException, typer.BadParameter)) as caught:
        parse(line)
    assert why in str(getattr(caught.value, "message", caught.value))


@pytest.mark.slow
def test_the_readmes_curl_gets_an_answer(tmp_path):
    """Both of its lines as they stand, but for the port, which may be taken here."""
    curl = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=False).stdout
    if "--json" not in curl:
        pytest.skip("needs curl 7.82 or newer")
    [block] = [block for block in blocks("sh") if "curl" in block]
    serve, ask = block.splitlines()
    words = [*shlex.split(serve, comments=True)[1:], "--port", "0"]
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, "-c", "from ume_r1_rag.cli import main; main()", *words]
        server = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        wait_until(lambda: server.poll() is not None or "serving nano" in log.read_text(), 200)
        [url] = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())
        line = ask.replace("localhost:8000", url)
        assert line != ask
        answer = json.loads(subprocess.run(line, shell=True, capture_output=True, check=True).stdout)
        [found] = answer["data"]
        assert len(found["embedding"]) == len(found["gen"]) == 128
        assert found["reasoning"]
    finally:
        server.terminate()
        assert server.wait(60) == 0


def test_make_targets_of_the_readme_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
