from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.task import TASKS
from ume_r1_bench.world.mmeb import write_mmeb

CHECKOUT = os.environ.get("VLM2VEC")


@pytest.mark.slow
@pytest.mark.skipif(CHECKOUT is None, reason="set VLM2VEC to a checkout of TIGER-AI-Lab/VLM2Vec (main, 2026)")
def test_the_evaluator_s_own_parsers_read_the_same(tmp_path):
    data = write_mmeb(tmp_path / "mmeb", progress=False).directory
    script = Path(__file__).with_name("official_mmeb.py")
    command = [sys.executable, str(script), str(Path(CHECKOUT).resolve()), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read = {task["task"]: task for task in map(json.loads, done.stdout.splitlines())}
    assert read.keys() == TASKS.keys()
    for name, task in TASKS.items():
        ours, theirs = load_task(task, data, PROTOCOLS["v2.1"], online=False), read[name]

        def place(path, task=task):
            # Keys of moments are relative with us; pages of the two versions have folders of their own.
            path = os.path.relpath(path, data) if str(path).startswith(str(data)) else str(path)
            return Path(path).name if task.is_page_task and path.endswith(".png") else path

        def shown(item, task=task):
            return [place(path, task) for path in (item.images or item.frames)]

        assert [(q.item.rendered, shown(q.item)) for q in ours.queries] == [
            (q["text"], [place(path) for path in q["paths"]]) for q in theirs["queries"]
        ], name
        assert [{key: float(grade) for key, grade in q.relevance.items()} for q in ours.queries] == [
            {place(key): float(grade) for key, grade in q["relevance"].items()} for q in theirs["queries"]
        ], name
        mine = [(key, item.rendered, shown(item)) for key, item in ours.candidates.items()]
        yours = [
            (place(c["name"]), c["text"], [place(path) for path in c["paths"]]) for c in theirs["candidates"]
        ]
        ranked = [q.candidates for q in ours.queries if q.candidates is not None]
        listed = [tuple(dict.fromkeys(map(place, q["names"]))) for q in theirs["queries"] if ranked]
        if task.parser == "moment_retrieval":
            # Theirs come as the file system lists them.
            mine, yours = sorted(mine), sorted(yours)
            ranked, listed = ([tuple(sorted(names)) for names in each] for each in (ranked, listed))
        assert mine == yours, name
        assert ranked == listed, name
