"""Published rows: complete, and consistent with themselves except where they are known not to be."""

from decimal import ROUND_HALF_UP, Decimal

import pytest

from ume_r1_bench.mmeb.published import published_rows
from ume_r1_rag.errors import ConfigError

# How many tasks each group has, in the order in which rows list their tasks.
GROUPS = {
    "image.CLS": 10,
    "image.QA": 10,
    "image.RET": 12,
    "image.GD": 4,
    "video.CLS": 5,
    "video.QA": 5,
    "video.RET": 5,
    "video.MRET": 3,
    "visdoc.VDRv1": 10,
    "visdoc.VDRv2": 4,
    "visdoc.VR": 6,
    "visdoc.OOD": 4,
}
MODALITIES = {"image": 36, "video": 18, "visdoc": 24}


def averages(scores):
    values, found, start = list(scores.values()), {}, 0
    for sizes in (GROUPS, MODALITIES, {"All": 78}):
        start = 0
        for name, size in sizes.items():
            found[name] = sum(values[start : start + size]) / size
            start += size
        assert start == 78
    return found


def half_up(value):
    """As papers round; Python's own would make 64.8 of 64.85."""
    return float(Decimal(f"{value:.6f}").quantize(Decimal("0.1"), ROUND_HALF_UP))


def rows(suite, source, **wanted):
    found = [row for row in published_rows(suite) if source in row.source]
    return [row for row in found if all(getattr(row, name) == value for name, value in wanted.items())]


def test_all_rows_are_there_and_say_where_they_are_from():
    v2, v1 = published_rows("mmeb-v2"), published_rows("mmeb-v1")
    assert len(rows("mmeb-v2", "Table 1")) == 15
    assert len(rows("mmeb-v2", "Table 5")) == 10
    assert len(rows("mmeb-v2", "VLM2Vec repository")) == 24
    assert len(v1) == len(rows("mmeb-v1", "Table 6")) == 23
    assert published_rows("mini") == []
    assert {row.protocol for row in v2} == {"v2.0.0", "v2.0.1", "v2.1", "ume-r1-paper", "not stated"}
    names = [(row.name, row.source, row.mode) for row in v2 + v1]
    assert len(set(names)) == len(names)
    assert all(row.scores or row.averages for row in v2 + v1)
    assert all(
        0 <= points <= 100 for row in v2 + v1 for points in (*row.scores.values(), *row.averages.values())
    )


def test_an_unknown_suite_is_refused():
    with pytest.raises(ConfigError, match="mmeb-v3"):
        published_rows("mmeb-v3")


def test_the_public_scores_of_vlm2vec_v2_give_its_printed_averages_to_the_digit():
    (row,) = rows("mmeb-v2", "v2.0.0", name="VLM2Vec-V2.0-Qwen2VL-2B")
    assert row.averages == {"image": 64.9, "video": 34.6, "visdoc": 65.4, "All": 58.0}
    found = averages(row.scores)
    assert {name: half_up(found[name]) for name in row.averages} == row.averages


@pytest.mark.parametrize(("name", "every"), [("UME-R1-2B", 60.1), ("UME-R1-7B", 64.5)])
def test_the_papers_own_rows_agree_with_themselves(name, every):
    (row,) = rows("mmeb-v2", "Table 5", name=name)
    assert row.inconsistent == {}
    assert dict(row.averages) == pytest.approx(averages(row.scores), abs=0.15)
    assert row.averages["All"] == every


@pytest.mark.parametrize("row", rows("mmeb-v2", "Table 5"), ids=lambda row: row.name)
def test_what_contradicts_itself_is_marked_and_nothing_else(row):
    found = averages(row.scores)
    off = {
        name: round(found[name], 2)
        for name, printed in row.averages.items()
        if abs(found[name] - printed) > 0.15
    }
    assert off == pytest.approx(dict(row.inconsistent), abs=0.011)
    assert set(row.averages) == set(found)


def test_table_1_agrees_with_itself():
    for row in rows("mmeb-v2", "Table 1"):
        for modality, size in MODALITIES.items():
            total = sum(row.averages[g] * n for g, n in GROUPS.items() if g.startswith(modality))
            assert total / size == pytest.approx(row.averages[modality], abs=0.15), (row.name, modality)
        total = sum(row.averages[modality] * size for modality, size in MODALITIES.items())
        assert total / 78 == pytest.approx(row.averages["All"], abs=0.15), row.name


def test_table_6_is_marked_where_its_cells_do_not_make_its_overall():
    off = {}
    for row in published_rows("mmeb-v1"):
        total = sum(row.averages[g] * n for g, n in GROUPS.items() if g.startswith("image")) / 36
        if abs(total - row.averages["All"]) > 0.15:
            off[row.name] = round(total, 2)
    assert off == {row.name: row.inconsistent["All"] for row in published_rows("mmeb-v1") if row.inconsistent}
    assert set(off) == {"SigLIP", "UniME-4B"}


def test_tasks_are_named_alike_in_all_sources_and_in_order():
    tasks = list(rows("mmeb-v2", "Table 5")[0].scores)
    assert len(tasks) == len(set(tasks)) == 78
    for row in published_rows("mmeb-v2"):
        if row.protocol == "v2.1":
            assert [task for task in tasks if task not in row.scores] == ["ViDoSeek-doc", "MMLongBench-doc"]
        elif row.scores:
            assert list(row.scores) == tasks


def test_public_files_of_one_model_differ_where_the_protocol_changed():
    old, new, fixed = (
        rows("mmeb-v2", f"{v}", name="VLM2Vec-V1-Qwen2VL-7B")[0].scores for v in ("v2.0.0", "v2.0.1", "v2.1")
    )
    assert old["ViDoRe_arxivqa"] - new["ViDoRe_arxivqa"] > 20
    assert {t for t in fixed if abs(fixed[t] - new[t]) > 0.01} == {"ViDoSeek-page", "MMLongBench-page"}


def test_every_row_of_the_authors_own_says_its_mode():
    modes = {
        (row.mode, row.averages.get("All"))
        for row in rows("mmeb-v2", "Table")
        if row.name.startswith("UME-R1")
    }
    assert {("gen", 60.1), ("gen", 64.5), ("oracle", 64.4), ("oracle", 68.1), ("disc", 56.0)} <= modes
