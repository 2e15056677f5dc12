from __future__ import annotations

from collections import Counter

import pytest

from ume_r1_bench.mmeb.doctor import Examination, TaskState
from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.parsers import PARSERS
from ume_r1_bench.mmeb.parsers.video_classification import label_sets
from ume_r1_bench.mmeb.protocol import PROTOCOLS, find_protocol
from ume_r1_bench.mmeb.suite import SUITES, choose_tasks, find_suite
from ume_r1_bench.mmeb.task import TASKS, find_task

PAPER_2B = {
    "IND": (
        "75.3 81.1 75.2 80.0 79.4 62.4 51.1 92.2 67.7 64.9 54.1 76.6 53.7 71.7 74.2 75.1 68.9 67.2 90.0 69.5"
    ),
    "OOD": "42.6 50.4 88.7 52.0 23.4 42.7 46.8 67.3 78.6 17.1 62.0 66.9 88.0 83.3 84.4 71.5",
}
"""UME-R1-2B's image scores of the paper's Table 5, in the order of its rows."""


def test_the_78_tasks_are_those_of_mmeb_v2():
    counted = [task for task in TASKS.values() if task.counted]
    assert Counter(task.meta_task for task in counted) == {
        "image/CLS": 10,
        "image/QA": 10,
        "image/RET": 12,
        "image/GD": 4,
        "video/CLS": 5,
        "video/QA": 5,
        "video/RET": 5,
        "video/MRET": 3,
        "visdoc/VDRv1": 10,
        "visdoc/VDRv2": 4,
        "visdoc/VR": 6,
        "visdoc/OOD": 4,
    }
    assert Counter(task.scope for task in counted) == {"local": 45, "global": 33}
    assert {task.parser for task in counted} == set(PARSERS)
    assert {task.metric for task in counted if task.modality != "visdoc"} == {"hit@1"}
    assert {task.metric for task in counted if task.modality == "visdoc"} == {"ndcg_linear@5"}
    assert {task.name for task in counted if task.graded} == {
        "ViDoSeek-doc",
        "MMLongBench-doc",
        "ViDoRe_esg_reports_human_labeled_v2",
    }


def test_three_english_tasks_are_extras_that_no_average_counts():
    extras = [task for task in TASKS.values() if not task.counted]
    assert [task.name for task in extras] == [
        "ViDoRe_biomedical_lectures_v2",
        "ViDoRe_economics_reports_v2",
        "ViDoRe_esg_reports_v2",
    ]
    assert all(task.hub.language == "english" for task in extras)
    assert not any(task.name in suite.tasks for task in extras for suite in SUITES.values())


def test_the_paper_s_table_6_is_the_average_of_table_5_over_the_splits():
    splits = find_suite("mmeb-v1").splits
    means = {}
    for split, scores in PAPER_2B.items():
        numbers = [float(score) for score in scores.split()]
        assert len(numbers) == len(splits[split])
        means[split] = sum(numbers) / len(numbers)
    assert round(means["IND"], 1) == 71.5
    assert round(means["OOD"], 1) == 60.4
    assert sorted(splits["IND"] + splits["OOD"]) == sorted(find_suite("mmeb-v1").tasks)
    # The order above is the suite's, so a task in the wrong split would move both averages.
    order = [name for name in find_suite("mmeb-v1").tasks if name in splits["IND"]]
    assert order == list(splits["IND"])


def test_the_mini_suite_has_a_task_of_every_meta_task():
    assert set(find_suite("mini").meta_tasks) == set(find_suite("mmeb-v2").meta_tasks)


def test_the_label_sets_have_their_known_sizes_and_no_label_twice():
    sizes = {name: len(labels) for name, labels in label_sets().items()}
    assert sizes == {"Kinetics-700": 700, "HMDB51": 51, "UCF101": 101, "Breakfast": 10}
    assert all(len(set(labels)) == len(labels) for labels in label_sets().values())


def test_protocols_differ_in_instructions_and_in_the_page_tasks_alone():
    old, new, paper = PROTOCOLS["v2.0.1"], PROTOCOLS["v2.1"], PROTOCOLS["ume-r1-paper"]
    vidore, visrag = TASKS["ViDoRe_docvqa"], TASKS["VisRAG_ChartQA"]
    full = ("Find a document image that matches the given query:",)
    assert old.instructions(vidore) == paper.instructions(vidore) == ("", "")
    assert new.instructions(vidore)[:1] == full
    assert {protocol.instructions(visrag)[:1] for protocol in PROTOCOLS.values()} == {full}
    assert old.hub(TASKS["MMLongBench-page"]).repo == "VLM2Vec/MMLongBench"
    assert paper.hub(TASKS["ViDoSeek-page"]).repo == "VLM2Vec/ViDoSeek-page"
    assert new.hub(TASKS["ViDoSeek-page"]).repo == "VLM2Vec/ViDoSeek-page-fixed"
    assert old.hub(TASKS["ViDoSeek-doc"]) == new.hub(TASKS["ViDoSeek-doc"])
    assert (paper.min_pixels, paper.max_pixels, paper.blank_image) == (784, 2359296, True)
    assert (new.min_pixels, new.max_pixels, new.num_frames) == (3136, 1003520, 8)


def test_a_stamp_tells_the_protocols_apart():
    stamps = [protocol.stamp() for protocol in PROTOCOLS.values()]
    assert len({tuple(sorted(stamp.items())) for stamp in map(dict, stamps)}) == 3
    assert stamps[0]["pages"] == "buggy"


def test_score_files_names_find_their_tasks():
    assert find_task("Kinetics-700").name == "K700"
    assert find_task("ViDoSeek-page-fixed").name == "ViDoSeek-page"
    assert [task.name for task in choose_tasks("mmeb-v2", ["MSVD", "K700", "MSVD"])] == ["MSVD", "K700"]


def test_an_unknown_name_is_refused_with_what_was_meant():
    with pytest.raises(MmebError, match="did you mean HatefulMemes"):
        find_task("HatefulMeme")
    with pytest.raises(MmebError, match="the tasks are ImageNet-1K"):
        find_task("☃")
    with pytest.raises(MmebError, match=r"choose one of v2\.0\.1, v2\.1, ume-r1-paper"):
        find_protocol("v3")
    with pytest.raises(MmebError, match="choose one of mmeb-v2, mmeb-v1, mini"):
        find_suite("maxi")


def test_doctor_says_so_where_all_of_mini_is_there(tmp_path):
    mini, protocol = set(SUITES["mini"].tasks), PROTOCOLS["v2.1"]

    def report(there):
        states = [
            TaskState(TASKS[name], problem="" if name in there else f"{name}: gone")
            for name in SUITES["mmeb-v2"].tasks
        ]
        return Examination(tmp_path, protocol, tuple(states)).report()

    assert "try --suite mini" in report(mini)
    assert "  MSVD: gone\n" in report(mini)
    assert "try --suite mini" not in report(mini - {"VOC2007"})
