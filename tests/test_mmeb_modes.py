"""Modes, and what of a run's options is refused before anything is encoded."""

from pathlib import Path

import pytest

from ume_r1_bench.mmeb.modes import DISC, GEN, Mode, Side, parse_mode, parse_modes
from ume_r1_bench.mmeb.options import Options
from ume_r1_rag.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected", "name"),
    [
        ("disc", DISC, "disc"),
        ("gen", GEN, "gen"),
        ("gen@full", GEN, "gen"),
        ("gen@none", Mode(Side("gen", "none"), Side("gen", "none")), "gen@none"),
        ("gen@32:disc", Mode(Side("gen", 32), Side("disc")), "gen@32:disc"),
        ("disc : gen", Mode(Side("disc"), Side("gen")), "disc:gen"),
        ("ext:disc", Mode(Side("ext"), Side("disc")), "ext:disc"),
    ],
)
def test_a_mode_is_one_side_or_two(text, expected, name):
    assert parse_mode(text) == expected
    assert expected.name == name


def test_a_bare_gen_takes_every_budget_and_others_stay():
    names = [mode.name for mode in parse_modes(["disc", "gen", "gen@8"], ["full", "none"])]
    assert names == ["disc", "gen", "gen@none", "gen@8"]


@pytest.mark.parametrize(
    "text", ["", "words", "gen@", "gen@0", "gen@-1", "disc@none", "a:b:c", "disc:gen:disc"]
)
def test_what_is_no_mode_is_refused(text):
    with pytest.raises(ConfigError):
        parse_mode(text)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"modes": (DISC,), "samples": 2}, "samples=2 is about gen"),
        ({"modes": (DISC,), "ablate": True}, "ablate=True is about gen"),
        ({"modes": (parse_mode("gen:disc"),), "batch": 4}, "batch=4 is about gen"),
        ({"modes": (parse_mode("gen@none"),), "samples": 2}, "decodes nothing"),
        ({"modes": (parse_mode("ext"),)}, "somebody who reasons"),
        ({"modes": ()}, "no mode"),
        ({"shard": (2, 2)}, "shard 2/2"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(given, why):
    with pytest.raises(ConfigError, match=why):
        Options(Path("data"), Path("out"), **given)
