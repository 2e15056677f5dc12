from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import get_args

import pytest
from PIL import Image
from typer.testing import CliRunner

from ume_r1_bench.mmeb.doctor import examine
from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.load import load_task, make_parser
from ume_r1_bench.mmeb.parsers import PARSERS
from ume_r1_bench.mmeb.parsers.moment import MomentSeeker
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.suite import SUITES, choose_tasks
from ume_r1_bench.mmeb.task import TASKS, Hub
from ume_r1_bench.world.mmeb import LAYOUTS, write_mmeb
from ume_r1_bench.world.mmeb.write import MOST
from ume_r1_bench.world.sheet import SIZE
from ume_r1_bench.world.split import WorldError
from ume_r1_rag.cli import bench_doctor, world_mmeb
from ume_r1_rag.cli.app import app

V21 = PROTOCOLS["v2.1"]
ROWS = 2
FEW = ("VOC2007", "WebQA", "MSVD", "QVHighlight", "MomentSeeker", "MVBench", "ViDoSeek-doc", "VisRAG_PlotQA")


@pytest.fixture(scope="module")
def mmeb(tmp_path_factory):
    """Two rows of every task; tests that write or delete take a copy."""
    made = write_mmeb(tmp_path_factory.mktemp("mmeb") / "data", ROWS, progress=False)
    assert made.tasks == tuple(TASKS)
    return made.directory


@pytest.fixture
def few(tmp_path):
    """A small directory of one task each of eight parsers."""
    return write_mmeb(tmp_path / "few", ROWS, tasks=FEW, progress=False).directory


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_tasks_load_and_every_file_is_a_picture(mmeb, name):
    for task in TASKS.values():
        data = load_task(task, mmeb, PROTOCOLS[name], online=False)
        assert len(data.queries) == (20 if task.name == "MVBench" else 1 if not task.counted else ROWS)
        for query in data.queries:
            assert (query.candidates is None) == (task.scope == "global")
            ranked = data.candidates if query.candidates is None else query.candidates
            assert query.relevance.keys() <= set(ranked)
            assert 0 < len(query.relevance) < len(ranked) or len(ranked) == ROWS
            query.item.to_input()
        assert len(data.candidates) <= data.rows
    for item in data.candidates.values():
        with Image.open(item.images[0]) as page:
            assert page.size == (SIZE, SIZE)


def filled(template, task, row):
    """Returns a task's template with what a row has for its placeholders."""
    caption = row.get("caption") or row.get("sentence") or ""
    options = row.get("options") or row.get("option") or row.get("candidates")
    options = options or [row[f"a{n}"] for n in range(5) if f"a{n}" in row]
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip("ABCDE", options, strict=False))
    # Captions that stand in quotes bring them along.
    text = str(row.get("qry_text")).strip('"')
    for placeholder, value in (
        ("{inst}", task.instruction_query),
        ("{text}", text),
        ("{question}", row.get("question")),
        ("{query}", row.get("query")),
        ("{captions[0]}", caption[0] if caption else ""),
        ("{caption}", caption),
        ("{sentence}", caption),
        ("{enCap[0]}", (row.get("enCap") or [""])[0]),
        ("{'\\n'.join(options)}", "\n".join(options)),
        ("{' '.join(options)}", " ".join(options)),
        ("\n(A) ..\n(B) ..", f"\n{listed}"),
    ):
        if placeholder in template:
            template = template.replace(placeholder, value)
    return template


def test_rendered_queries_are_the_official_strings(mmeb):
    for task in TASKS.values():
        parser = make_parser(task, mmeb, V21, online=False)
        for row in parser.rows():
            if isinstance(parser, MomentSeeker):
                kinds = dict(kind.split(": ", 1) for kind in task.query_rendered.split(" | "))
                kind = {"": "text", "jpg": "image", "mp4": "video"}[row["input_frames"][-3:]]
                expected = kinds[kind].replace("{inst}", parser.INSTRUCTIONS[kind])
                expected = expected.replace("{query}", row["query"])
            else:
                expected = filled(task.query_rendered, task, row)
            assert parser.query(row).rendered == expected, task.name


def test_rendered_candidates_are_the_official_strings(mmeb):
    for task in TASKS.values():
        if task.instruction_target is None:
            continue
        parser = make_parser(task, mmeb, V21, online=False)
        for row in parser.rows():
            for number in range(len(parser.names(row))):
                caption = row["tgt_text"][number].strip('"') if task.modality == "image" else ""
                expected = task.target_rendered.replace("{caption}", caption)
                assert parser.candidate(row, number).rendered == expected, task.name


def test_candidates_of_text_are_their_texts(mmeb):
    forms = {"Video-MME": "BADCE", "EgoSchema": "ABCDE"}
    for task in TASKS.values():
        if task.instruction_target is not None:
            continue
        data = load_task(task, mmeb, V21, online=False)
        for name, item in data.candidates.items():
            bare = name[3:-1] if task.name in forms else name
            assert (item.text, item.images, item.frames) == (bare, (), ()), task.name


def test_both_layouts_say_the_same(mmeb, tmp_path):
    names = list({task.parser: task.name for task in TASKS.values() if not task.graded}.values())
    old = write_mmeb(tmp_path / "old", ROWS, tasks=names, layout="old", progress=False).directory
    assert len(names) == len(PARSERS)
    assert (old / "image-tasks/MMEB/MSCOCO_i2t/0000.png").is_file()
    assert (old / "video-tasks/frames/video_ret/MSVD/frames/video0000/frame_0001.jpg").is_file()
    assert (old / "visdoc-tasks/visdoc-tasks/esg_reports_v2/1.png").is_file()
    assert (old / "video-tasks/data/charades_sta.jsonl").is_file()
    for name in names:
        was, now = (load_task(TASKS[name], root, V21, online=False) for root in (old, mmeb))
        assert [(q.item.rendered, q.candidates, q.relevance) for q in was.queries] == [
            (q.item.rendered, q.candidates, q.relevance) for q in now.queries
        ]
        assert list(was.candidates) == list(now.candidates)


def test_gold_stands_anywhere(tmp_path):
    names = ("SmthSmthV2", "NExTQA", "QVHighlight", "ViDoRe_docvqa", "MVBench")
    data = write_mmeb(tmp_path / "d", 12, tasks=names, progress=False).directory
    for name in names:
        parser = make_parser(TASKS[name], data, V21, online=False)
        loaded = load_task(TASKS[name], data, V21, online=False)
        places = []
        for query in loaded.queries:
            # Of a global task, the corpus' own order: in ours, pages that answer come first, as officially.
            ranked = list(query.candidates or (page for page, _ in parser.corpus()))
            places.append(ranked.index(next(iter(query.relevance))) / len(ranked))
        assert min(places) < 0.35
        assert max(places) > 0.5
        assert len(set(places)) > 2


def test_every_content_is_written_again_for_the_same_seed(few, tmp_path):
    again = write_mmeb(tmp_path / "again", ROWS, tasks=FEW, progress=False).directory
    other = write_mmeb(tmp_path / "other", ROWS, tasks=FEW[:2], seed=1, progress=False).directory
    files = sorted(path.relative_to(few) for path in few.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((few / path).read_bytes() == (again / path).read_bytes() for path in files)
    changed = [path.relative_to(other) for path in other.rglob("*.parquet")]
    assert changed
    assert all((few / path).read_bytes() != (other / path).read_bytes() for path in changed)


def test_a_directory_is_never_mixed(few):
    with pytest.raises(WorldError, match="is not empty"):
        write_mmeb(few, progress=False)
    with pytest.raises(WorldError, match="rows=0"):
        write_mmeb(few / "new", 0)
    with pytest.raises(WorldError, match="layout='newest'"):
        write_mmeb(few / "new", layout="newest")
    with pytest.raises(MmebError, match="task='nothing'"):
        write_mmeb(few / "new", tasks=["nothing"], progress=False)


def test_the_mini_suite_is_large_enough_to_measure_on(tmp_path):
    names = ("VOC2007", "NExTQA", "ViDoSeek-doc")
    made = write_mmeb(tmp_path / "mini", mini=True, tasks=names, progress=False)
    assert made.rows == 60
    for name in names:
        data = load_task(TASKS[name], made.directory, V21, online=False)
        assert len({query.item for query in data.queries}) == 60
        assert len(data.candidates) == {"VOC2007": 48, "NExTQA": 8, "ViDoSeek-doc": 64}[name]


def test_doctor_finds_everything_and_writes_nothing(mmeb, tmp_path):
    before = sorted(mmeb.rglob("*"))
    found = examine(choose_tasks("mmeb-v2"), mmeb, V21, progress=False)
    assert found.ok
    assert found.report().startswith(f"78 of 78 tasks can run on {mmeb}, protocol v2.1\n")
    assert "video   CLS 5/5  QA 5/5  RET 5/5  MRET 3/3" in found.report()
    assert sorted(mmeb.rglob("*")) == before
    assert examine(choose_tasks("mmeb-v2"), mmeb, PROTOCOLS["v2.0.1"], progress=False).ok
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = examine(choose_tasks("mmeb-v2"), empty, V21, progress=False)
    assert not any(state.ok for state in nothing.states)


def test_doctor_names_exactly_what_is_missing(few):
    gone = (
        "image-tasks/VOC2007/0001.png",
        "video-tasks/frames/video_ret/MSVD/video0001",
        "video-tasks/frames/video_mret/QVHighlight/video0000/positive",
        "video-tasks/frames/video_mret/MomentSeeker/query_seek0001.jpg",
        "video-tasks/MVBench/action_count",
        "visdoc-tasks/ViDoSeek/corpus",
    )
    for path in gone:
        shutil.rmtree(few / path) if (few / path).is_dir() else (few / path).unlink()
    missing = {
        "VOC2007": "image-tasks/VOC2007/0001.png",
        "MSVD": "video-tasks/frames/video_ret/MSVD/video0001",
        "MomentSeeker": "video-tasks/frames/video_mret/MomentSeeker/query_seek0001.jpg",
        "MVBench": "video-tasks/MVBench/action_count/train.parquet",
        "ViDoSeek-doc": "visdoc-tasks/ViDoSeek/corpus/test.parquet",
    }
    done = run("bench", "doctor", "--data", few, "--tasks", ",".join(FEW), "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    named = {task["name"]: [gap["file"] for gap in task["missing"]] for task in told["tasks"]}
    assert {name: files for name, files in named.items() if files} == {
        name: [file] for name, file in missing.items()
    }
    # Which clip is the right one was told by its folder's name alone.
    moments = next(task for task in told["tasks"] if task["name"] == "QVHighlight")
    assert not moments["ok"]
    assert "no clip of it is called positive" in moments["problem"]
    assert [task["name"] for task in told["tasks"] if task["ok"]] == ["WebQA", "VisRAG_PlotQA"]
    for name, file in missing.items():
        with pytest.raises(DataMissing) as caught:
            load_task(TASKS[name], few, V21, online=False)
        assert few / file in (*caught.value.tables, *caught.value.media)
    report = run("bench", "doctor", "--data", few, "--tasks", ",".join(FEW), "--list").stdout
    assert all(f"\n    {file}\n" in report for file in missing.values())
    assert "MVBench: 1 of 20 tables in video-tasks/MVBench/ (VLM2Vec/MVBench)" in report
    assert (
        f"hf download --repo-type dataset TIGER-Lab/MMEB-V2 --include 'video-tasks/*' --local-dir {few}"
        in report
    )


def test_doctor_leaves_rows_to_the_hub_if_it_may(few):
    shutil.rmtree(few / "video-tasks/MSVD")
    (few / "image-tasks/VOC2007/test-00000-of-00001.parquet").unlink()
    tasks = choose_tasks("mmeb-v2", ["MSVD", "VOC2007", "K700", "ViDoRe_docvqa"])
    states = {state.task.name: state for state in examine(tasks, few, V21, hub=True, progress=False).states}
    assert {name: state.ok for name, state in states.items()} == {
        **dict.fromkeys(("MSVD", "VOC2007", "ViDoRe_docvqa"), True),
        "K700": False,
    }
    assert states["MSVD"].from_hub
    assert not any(state.ok for state in examine(tasks, few, V21, progress=False).states)


def test_pages_are_written_once_and_shown_again(few):
    task = TASKS["ViDoSeek-doc"]
    pages = few / "visdoc-tasks/ViDoSeek-doc"
    assert not pages.exists()
    first = load_task(task, few, V21, online=False)
    times = {path: path.stat().st_mtime_ns for path in pages.iterdir()}
    assert load_task(task, few, V21, online=False) == first
    assert times == {path: path.stat().st_mtime_ns for path in pages.iterdir()}
    next(iter(times)).unlink()
    assert load_task(task, few, V21, online=False) == first
    assert sorted(times) == sorted(pages.iterdir())


def test_rows_come_through_datasets_where_they_are_not_on_disk(few, tmp_path, monkeypatch):
    # A folder takes the hub's place: what is written carries the cards by which `datasets` finds its tables.
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task = TASKS["ViDoSeek-doc"]
    here = load_task(task, few, V21, online=False)
    hub = Hub(str(few / "visdoc-tasks" / task.hub.folder), None, "test")
    data = tmp_path / "data"
    data.mkdir()
    there = load_task(replace(task, hub=hub), data, V21)
    assert there.queries == here.queries
    assert list(there.candidates) == list(here.candidates)
    for mine, yours in zip(here.candidates.values(), there.candidates.values(), strict=True):
        with Image.open(mine.images[0]) as one, Image.open(yours.images[0]) as other:
            assert one.tobytes() == other.tobytes()
    corpus = datasets.load_dataset(hub.repo, "corpus", split="test")
    assert isinstance(corpus.features["image"], datasets.Image)
    assert datasets.load_dataset(str(few / "image-tasks"), "WebQA", split="test").num_rows == ROWS


def test_commands_name_what_there_is():
    assert get_args(bench_doctor.Suite) == tuple(SUITES)
    assert get_args(bench_doctor.ProtocolName) == tuple(PROTOCOLS)
    assert get_args(world_mmeb.Layout) == LAYOUTS


def test_the_commands_work_together(tmp_path):
    done = run("world", "mmeb", tmp_path / "made", "--rows", 1, "--tasks", "MSVD,VOC2007")
    assert done.exit_code == 0
    assert done.stdout.startswith("wrote 2 tasks with 1 queries each, ")
    done = run("bench", "doctor", "--data", tmp_path / "made", "--tasks", "MSVD,VOC2007")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        f"2 of 2 tasks can run on {tmp_path / 'made'}, protocol v2.1",
    )
    done = run("bench", "doctor", "--data", tmp_path / "made", "--suite", "mini")
    assert done.exit_code == 1
    assert "where it comes from:" in done.stdout
    assert run("world", "mmeb", tmp_path / "more", "--rows", MOST + 1).exit_code == 2
    assert run("world", "mmeb", tmp_path / "more", "--rows", 1, "--mini").exit_code == 2
    done = run("world", "mmeb", tmp_path / "made")
    assert done.exit_code == 1
    assert "is not empty" in done.stderr
