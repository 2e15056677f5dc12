"""Cached gradients are the full batch's, hard negatives count, and a killed run goes on as if nothing was."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer import gradient_proof
from ume_r1_trainer.config import SftConfig, load_recipe
from ume_r1_trainer.engine import drop_stale_lock
from ume_r1_trainer.gradient_proof import SCRATCH, compare, prove, reference, table
from ume_r1_trainer.made_records import write_records
from ume_r1_trainer.ranks import Ranks
from ume_r1_trainer.sft import Sft


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("cache"), pairs=16, negatives=True, side=56)


def config(made: Path, output: Path, **options: object) -> SftConfig:
    base = SftConfig(
        data=str(made), output=str(output), scratch=SCRATCH, preset="serving", steps=4, batch_size=8,
        chunk_size=5, temperature=0.1, lr=1e-3, warmup=1, save_every=2, log_every=1,
        save_dtype="float32", threads=1,
    )  # fmt: skip
    return dataclasses.replace(base, **options)  # type: ignore[arg-type]


def test_cached_gradients_equal_one_plain_forwards(tmp_path: Path) -> None:
    rows = prove(tmp_path, "plain", [3, 0], Ranks())
    assert [row.chunk for row in rows] == [3, 0]
    assert all(row.met and row.parameters == 45 for row in rows), table(rows)
    assert "| 1 | plain | 3 | 45 |" in table(rows)


def test_the_proof_sees_a_gradient_that_is_wrong(made: Path, tmp_path: Path) -> None:
    run = Sft(config(made, tmp_path))
    truth = reference(run)
    first = next(iter(truth))
    row = compare(run, {**truth, first: truth[first] + 1e-3 * max(g.norm() for g in truth.values())}, "plain")
    assert not row.met
    assert "MISSED" in table([row])


def test_hard_negatives_are_used(made: Path, tmp_path: Path) -> None:
    with_them = Sft(config(made, tmp_path / "with"))
    batch = with_them.feed.batch(0)
    assert len(batch.sides.all) > 2 * 8
    figures = with_them.gradient(batch)
    gradient = {name: g.clone() for name, g in with_them.engine.gradients()}
    without = Sft(config(made, tmp_path / "without", hard_negatives=0))
    other = without.gradient(without.feed.batch(0))
    assert len(without.feed.batch(0).sides.all) == 2 * 8
    assert figures["disc"] > other["disc"], "more to be told apart"
    assert figures["ce"] == pytest.approx(other["ce"], rel=1e-5), "their traces are not learned"
    assert any(not torch.allclose(g, gradient[name]) for name, g in without.engine.gradients())


def test_dume_reads_no_traces_and_trains_disc_alone(made: Path, tmp_path: Path) -> None:
    phases = load_recipe("dume", model="x", data="d", output="o").phases
    run = Sft(config(made, tmp_path, phases=phases, length_buckets=True))
    batch = run.feed.batch(0)
    chunk = batch.read(batch.chunks[0])
    ids = chunk.model_inputs["input_ids"]
    assert (ids[torch.arange(len(ids)), chunk.disc] == run.collate.tokens.markers.disc).all()
    assert torch.equal(chunk.disc + 1, chunk.model_inputs["attention_mask"].sum(-1)), "nothing comes after it"
    figures = run.train_step(run.feed.batch(0))
    assert "disc" in figures
    assert "gen" not in figures
    assert "ce" not in figures


def test_a_trace_that_is_too_long_keeps_its_summary_and_marker(made: Path, tmp_path: Path) -> None:
    free = Sft(config(made, tmp_path / "a"))
    batch = free.feed.batch(0)
    lengths = batch.read(batch.chunks[0]).model_inputs["attention_mask"].sum(-1)
    short = Sft(config(made, tmp_path / "b", max_length=int(lengths.max()) - 8))
    cut = short.feed.batch(0)
    part = cut.read(cut.chunks[0])
    assert int(part.model_inputs["attention_mask"].sum(-1).max()) == int(lengths.max()) - 8
    rows = torch.arange(len(part.gen))
    assert (part.model_inputs["input_ids"][rows, part.gen] == short.collate.tokens.markers.gen).all()


def test_options_that_cannot_go_together_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sub_batch=3"):
        config(made, tmp_path, sub_batch=3)
    with pytest.raises(ConfigError, match="how often and of what"):
        config(made, tmp_path, eval_every=1)
    with pytest.raises(ConfigError, match="not both"):
        config(made, tmp_path, eval_every=1, holdout=0.1, eval_data="x")
    with pytest.raises(ConfigError, match="divided among 3"):
        Ranks(0, 3).share(8)
    with pytest.raises(ConfigError, match="zero9"):
        Sft(config(made, tmp_path, deepspeed="zero9"))
    with pytest.raises(ConfigError, match="--model"):
        load_recipe("ume", data="d", output="o")
    assert not load_recipe("nano", data="d", output="o", model="x").scratch


def test_the_lock_of_a_killed_start_is_removed_and_that_of_a_running_build_is_not(tmp_path: Path) -> None:
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert not drop_stale_lock(tmp_path)
    assert lock.exists()
    os.utime(lock, (0, 0))
    assert drop_stale_lock(tmp_path)
    assert not lock.exists()


# ---- several ranks, and runs that are killed

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def launch() -> Launch:
    # Its first use compiles it, which takes a minute; two ranks at once would wait for each other's lock.
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    ShareMemCommBuilder().load()

    def start(ranks: int, *arguments: object) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(ranks),
        ]
        return subprocess.Popen(
            [*command, *map(str, arguments)],
            env={**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ranks", [1, 2])
def test_gradients_are_the_full_batchs_on_ranks_and_under_zero(
    launch: Launch, tmp_path: Path, ranks: int
) -> None:
    process = launch(
        ranks, "-m", gradient_proof.__name__, "--engines", "plain,zero2,zero3", "--chunks", "3,0",
        "--folder", tmp_path, "--out", tmp_path / "rows.jsonl",
    )  # fmt: skip
    printed, _ = process.communicate()
    assert process.returncode == 0, printed[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["ranks"], row["engine"], row["chunk"]) for row in rows] == [
        (ranks, engine, chunk) for engine in ("plain", "zero2", "zero3") for chunk in (3, 0)
    ]
    assert all(row["error"] <= 1e-5 and row["parameters"] == 45 for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ranks", [1, 2])
def test_what_zero3_saves_is_what_its_optimizer_holds(
    launch: Launch, made: Path, tmp_path: Path, ranks: int
) -> None:
    from safetensors.torch import load_file

    from ume_r1_trainer import backbone

    options = tmp_path / "options.json"
    zero3 = config(
        made, tmp_path / "o", deepspeed="zero3", holdout=0.5, eval_every=3, eval_batches=1, block_size=1
    )
    options.write_text(json.dumps(dataclasses.asdict(zero3)))
    process = launch(ranks, Path(__file__).with_name("held_parameters.py"), options, tmp_path / "held")
    printed, _ = process.communicate()
    assert process.returncode == 0, printed[-3000:]
    start, best, final = (
        dict(backbone.load(tmp_path / "o" / name)[0].named_parameters())
        for name in ("start", "best", "final")
    )
    for rank in range(ranks):
        held = load_file(tmp_path / f"held/{rank}.safetensors")
        assert len(held) == 45, "of every parameter"
        assert held.keys() == final.keys() == start.keys() == best.keys()
        for name, tensor in held.items():
            assert torch.equal(tensor, final[name]), name
    moved = {name for name, tensor in final.items() if not torch.equal(tensor, start[name])}
    assert len(moved) > 40, "it was trained"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adapters_checkpointing_bf16_and_evaluation_go_with_zero3(
    launch: Launch, made: Path, tmp_path: Path
) -> None:
    from tiny_backbones import write_backbone

    from ume_r1_trainer import backbone

    start = write_backbone("qwen2_5_vl", tmp_path / "plain")
    options = {
        "preset": "serving", "batch_size": 8, "block_size": 1, "chunk_size": 5, "warmup": 1, "threads": 1,
        "deepspeed": "zero3", "dtype": "bfloat16", "lora": {"r": 2, "use_dora": True}, "freeze_vision": True,
        "gradient_checkpointing": True, "holdout": 0.5, "eval_every": 1, "eval_batches": 1,
        "save_dtype": "float32",
    }  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(options))
    code = tmp_path / "train.py"
    code.write_text("from ume_r1_rag.cli import main\nmain()\n")
    process = launch(
        2, code, "train", "sft", "--recipe", recipe, "--model", start, "--data", made,
        "--output", tmp_path / "o", "--steps", 2,
    )  # fmt: skip
    printed, _ = process.communicate()
    assert process.returncode == 0, printed[-3000:]
    for name in ("final", "best"):
        model, _ = backbone.load(tmp_path / "o" / name)
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("ranks", "engine"), [(1, ""), (2, ""), (2, "zero2"), (2, "zero3")])
def test_a_killed_run_goes_on_where_it_saved(
    launch: Launch, made: Path, tmp_path: Path, ranks: int, engine: str
) -> None:
    import yaml
    from safetensors.torch import load_file

    options = dataclasses.asdict(config(made, tmp_path, steps=8, save_every=2, deepspeed=engine))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({k: v for k, v in options.items() if k not in ("data", "output")}))
    code = tmp_path / "train.py"
    code.write_text("from ume_r1_rag.cli import main\nmain()\n")

    def train(output: Path) -> subprocess.Popen[str]:
        return launch(ranks, code, "train", "sft", "--recipe", recipe, "--data", made, "--output", output)

    whole = train(tmp_path / "whole")
    printed, _ = whole.communicate()
    assert whole.returncode == 0, printed[-3000:]

    cut = train(tmp_path / "cut")
    saved = tmp_path / "cut" / ("deepspeed/latest" if engine else "state.pt")
    while cut.poll() is None and not saved.exists():
        time.sleep(0.02)
    children = [int(pid) for pid in Path(f"/proc/{cut.pid}/task/{cut.pid}/children").read_text().split()]
    for pid in [*children, cut.pid]:
        os.kill(pid, signal.SIGKILL)
    cut.communicate()
    assert not (tmp_path / "cut/final").exists(), "it was killed before its end"

    resumed = train(tmp_path / "cut")
    printed, _ = resumed.communicate()
    assert resumed.returncode == 0, printed[-3000:]
    assert "resumed at step" in printed
    logs = [
        [json.loads(line)["step"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert logs[0] == logs[1] == list(range(1, 9))
    a, b = (load_file(tmp_path / name / "final/model.safetensors") for name in ("whole", "cut"))
    for name, tensor in a.items():
        if ranks == 1:
            assert torch.equal(tensor, b[name]), name
        else:
            torch.testing.assert_close(tensor, b[name], atol=1e-6, rtol=0)
