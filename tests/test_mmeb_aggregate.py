"""Averages: the published ones come out of the published rows; none is told of an incomplete run."""

import json
from pathlib import Path

import numpy as np
import pytest

from ume_r1_bench.mmeb.aggregate import averages, overall
from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.output import main_scores, read_summary, write_summary
from ume_r1_bench.mmeb.suite import SUITES

PUBLISHED = json.loads(Path(__file__).with_name("data").joinpath("mmeb_published.json").read_text())
V2 = SUITES["mmeb-v2"]

PRINTED = {
    "Avg - All (78 tasks)": "All",
    "Avg - Image (36 tasks, Hit@1)": "image",
    "Avg - Video (18 tasks, Hit@1)": "video",
    "Avg - Visdoc (24 tasks, NDCG@5)": "visdoc",
    "I-CLS (10)": "image/CLS",
    "I-QA (10)": "image/QA",
    "I-RET (12)": "image/RET",
    "I-VG (4)": "image/GD",
    "V-CLS (5)": "video/CLS",
    "V-QA (5)": "video/QA",
    "V-RET (5)": "video/RET",
    "V-MR (3)": "video/MRET",
    "VD-Vidore-V1 (10)": "visdoc/VDRv1",
    "VD-Vidore-V2 (4)": "visdoc/VDRv2",
    "VD-VisRAG (6)": "visdoc/VR",
    "VD-OOD (4)": "visdoc/OOD",
}


@pytest.fixture
def public_file(tmp_path):
    path = tmp_path / "VLM2Vec.json"
    path.write_text(json.dumps(PUBLISHED["vlm2vec"]))
    return path


@pytest.mark.parametrize("model", ["UME-R1-2B", "UME-R1-7B"])
def test_the_papers_rows_average_to_what_it_prints(model):
    found = {one.name: one.value for one in averages(PUBLISHED["ume_r1"][model], V2)}
    printed = PUBLISHED["ume_r1_printed"][model]
    assert set(printed) == set(PRINTED)
    for name, value in printed.items():
        assert found[PRINTED[name]] == pytest.approx(value, abs=0.15), name


def test_vlm2vecs_public_file_averages_to_its_printed_digits(public_file):
    scores = main_scores(read_summary(public_file))
    found = {one.name: f"{100 * one.value:.1f}" for one in averages(scores, V2)}
    assert [found[name] for name in ("image", "video", "visdoc", "All")] == ["64.9", "34.6", "65.4", "58.0"]
    assert overall(scores, V2) != pytest.approx(
        np.mean([one.value for one in averages(scores, V2)[1:4]]), abs=0.01
    ), "the mean of the three modalities is another number"


def test_all_is_refused_while_a_task_is_missing_and_says_which(public_file):
    scores = main_scores(read_summary(public_file))
    del scores["ViDoSeek-doc"]
    found = {one.name: one for one in averages(scores, V2)}
    for name in ("All", "visdoc", "visdoc/OOD"):
        assert not found[name].complete
        with pytest.raises(
            MmebError, match=rf"{name} is refused: 1 of \d+ tasks are missing \(ViDoSeek-doc\)"
        ):
            _ = found[name].value
    assert found["image"].value == pytest.approx(0.6485, abs=1e-4)
    with pytest.raises(MmebError, match="77 of 78"):
        overall({"OVEN": 0.5}, V2)


def test_extras_do_not_count(public_file):
    scores = main_scores(read_summary(public_file))
    before = overall(scores, V2)
    extra = next(name for name in ("ViDoRe_esg_reports_v2",) if name not in V2.tasks)
    assert overall(scores | {extra: 0.0}, V2) == before


def test_mmeb_v1_has_its_ind_and_ood_averages(public_file):
    scores = main_scores(read_summary(public_file))
    found = {one.name: one for one in averages(scores, SUITES["mmeb-v1"])}
    assert (len(found["IND"].tasks), len(found["OOD"].tasks)) == (20, 16)
    whole = (20 * found["IND"].value + 16 * found["OOD"].value) / 36
    assert found["All"].value == pytest.approx(whole)


def test_the_interval_of_an_average_is_that_of_a_mean_of_independent_tasks():
    suite = SUITES["mini"]
    scores, intervals = dict.fromkeys(suite.tasks, 0.5), dict.fromkeys(suite.tasks, (0.4, 0.6))
    found = averages(scores, suite, intervals)[0]
    half = 0.1 / np.sqrt(len(suite.tasks))
    assert found.interval == pytest.approx((0.5 - half, 0.5 + half))
    assert averages(scores, suite)[0].interval is None


def test_an_average_of_one_task_has_that_tasks_interval_and_none_leaves_0_to_100():
    suite = SUITES["mini"]
    scores, intervals = dict.fromkeys(suite.tasks, 1.0), dict.fromkeys(suite.tasks, (0.51, 1.0))
    found = {one.name: one for one in averages(scores, suite, intervals)}
    assert found["image/CLS"].tasks == ("VOC2007",)
    assert found["image/CLS"].interval == pytest.approx((0.51, 1.0))
    assert 0.51 < found["All"].interval[0] < found["All"].interval[1] == 1.0


def test_a_summary_is_read_as_it_was_written_and_under_the_fixed_pages_names(tmp_path):
    scores = {"OVEN": {"hit@1": 0.25}, "ViDoSeek-page": {"ndcg_linear@5": 0.5}}
    path = tmp_path / "ours.json"
    write_summary(path, {"model_name": "nano"}, scores)
    assert read_summary(path) == scores
    text = path.read_text().replace("ViDoSeek-page", "ViDoSeek-page-fixed")
    path.write_text(text)
    assert read_summary(path) == scores
    assert json.loads(text)["metrics"]["visdoc"]["ViDoSeek-page-fixed"] == {"ndcg_linear@5": 0.5}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metrics": {"image": []}}', '{"metrics": 3}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(MmebError, match="no public score file"):
        read_summary(path)
