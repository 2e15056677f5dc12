"""The benchmark of the frameworks' overhead: that it stores what it times, and says what it found."""

from ume_r1_bench.integration_overhead import GOAL, Row, main, measure


def test_every_framework_is_measured_in_both_places(make_encoder):
    rows = measure(make_encoder(), items=6, repeats=1)
    assert [(row.way, row.place, row.items) for row in rows] == [
        ("LlamaIndex", ":memory:", 6),
        ("LangChain", ":memory:", 6),
        ("LlamaIndex", "path=", 6),
        ("LangChain", "path=", 6),
    ]
    assert all(row.seconds > 0 and row.bare_s > 0 for row in rows)


def test_a_missed_goal_is_printed_as_missed(capsys, monkeypatch):
    rows = [Row("A", "path=", 10, 1.0, 1.0), Row("B", "path=", 10, 1.2, 1.0)]
    monkeypatch.setattr("ume_r1_bench.integration_overhead.measure", lambda *args: rows)
    assert main(["--items", "10"]) == 1
    said = capsys.readouterr().out
    assert f"1.000 | {GOAL:.2f} met" in said
    assert f"1.200 | {GOAL:.2f} MISSED" in said
