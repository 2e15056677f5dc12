"""The load benchmark: what it counts is what was answered."""

from __future__ import annotations

import asyncio
import json

import pytest
from served import Served
from typer.testing import CliRunner

from ume_r1_bench import serve_load
from ume_r1_bench.serve_load import Load, LoadReport, table
from ume_r1_rag.cli.app import app
from ume_r1_rag.server import ServerLimits, create_app


def press(server, mode, clients):
    with Served(server) as served:
        return asyncio.run(serve_load._press(served.url, mode, clients, 0.3))


def test_every_answer_is_counted(make_encoder):
    encoder = make_encoder()
    found = press(create_app(encoder), "gen", 3)
    assert (found.mode, found.clients, found.refused) == ("gen", 3, 0)
    assert found.answers == len(encoder.seen) >= 3
    assert len({item.text for item in encoder.seen}) == found.answers
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
    # A word is a token to this encoder, and none has fewer than three.
    assert found.tokens_per_s > 3 * found.per_s > 0


def test_what_is_refused_is_no_answer(make_encoder):
    found = press(create_app(make_encoder(spaces=["disc"]), limits=ServerLimits(queue=1)), "gen", 2)
    assert found.answers == 0
    assert found.refused >= 2


def test_the_figures_are_printed_and_written(monkeypatch, tmp_path):
    loads = (
        Load("disc", 8, 100, 1, 12.5, 0.0, 1.0, 2.0, 3.0),
        Load("gen", 0, 32, 0, 3.25, 99.0, 8.0, 8.0, 8.0),
    )
    asked, report = [], LoadReport({"model": "nano", "cpus": 2}, loads)
    monkeypatch.setattr(serve_load, "run_load", lambda *options: asked.append(options) or report)
    out = tmp_path / "load.json"
    given = ["bench", "serve", "--model", "nano", "--seconds", "3", "--clients", "8,64", "--modes", "disc"]
    done = CliRunner().invoke(app, [*given, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert asked == [(serve_load.Served("nano"), 3.0, [8, 64], ("disc",), out)]
    assert table(loads) in done.output
    assert "12.5" in done.output
    assert "no server" in done.output
    assert done.output.splitlines()[-1] == "model nano, cpus 2"
    assert json.loads(report.to_json())["loads"][1]["per_s"] == 3.25


def test_the_engine_is_passed_on_and_no_number_is_refused(monkeypatch):
    asked = []
    monkeypatch.setattr(serve_load, "run_load", lambda *options: asked.append(options) or LoadReport({}, ()))
    engine = ["--backend", "vllm", "--engine", "in_process=false", "--max-new-tokens", "8"]
    assert CliRunner().invoke(app, ["bench", "serve", "--model", "nano", *engine]).exit_code == 0
    expected = serve_load.Served("nano", "vllm", {"in_process": False}, 8)
    assert asked == [(expected, 10.0, serve_load.CLIENTS, ("disc", "gen"), None)]
    refused = CliRunner().invoke(app, ["bench", "serve", "--clients", "8,none"])
    assert refused.exit_code == 2
    assert "'none' is no number" in refused.output
    shown = CliRunner().invoke(app, ["bench", "serve", "--help"])
    assert "ume-r1 bench serve --backend vllm" in shown.output


@pytest.mark.slow
def test_a_server_of_its_own_is_measured_beside_the_encoder(tmp_path):
    out = tmp_path / "load.json"
    report = serve_load.run_load(serve_load.Served(max_new_tokens=4), 0.5, [2], out=out)
    lines = [(one.mode, one.clients) for one in report.loads]
    assert lines == [("disc", 2), ("gen", 2), ("disc", 0), ("gen", 0)]
    assert all(one.answers and not one.refused for one in report.loads)
    assert json.loads(out.read_text())["model"] == "nano"
