"""The load benchmark: what it counts is what was answered."""

from __future__ import annotations

import asyncio
import json

import pytest
from served import Served

from ume_r1_bench import serve_load
from ume_r1_bench.serve_load import Load, main, table
from ume_r1_rag.server import ServerLimits, create_app


def press(app, mode, clients):
    with Served(app) as served:
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


def test_the_figures_are_printed_and_written(monkeypatch, tmp_path, capsys):
    found = [
        Load("disc", 8, 100, 1, 12.5, 0.0, 1.0, 2.0, 3.0),
        Load("gen", 0, 32, 0, 3.25, 99.0, 8.0, 8.0, 8.0),
    ]
    asked = []
    monkeypatch.setattr(serve_load, "run_load", lambda *options: asked.append(options) or found)
    main(["--seconds", "3", "--clients", "8", "--modes", "disc", "--out", str(tmp_path / "load.json")])
    assert asked == [("nano", 3.0, [8], ["disc"], None)]
    printed = capsys.readouterr().out
    assert table(found) in printed
    assert "12.5" in printed
    assert "no server" in printed
    assert json.loads((tmp_path / "load.json").read_text())["loads"][1]["per_s"] == 3.25


@pytest.mark.slow
def test_a_server_of_its_own_is_measured_beside_the_encoder():
    found = serve_load.run_load(seconds=0.5, clients=[2], max_new_tokens=4)
    assert [(one.mode, one.clients) for one in found] == [("disc", 2), ("gen", 2), ("disc", 0), ("gen", 0)]
    assert all(one.answers and not one.refused for one in found)
