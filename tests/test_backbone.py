"""Each backbone gets its markers, learns, and is saved as a checkpoint that has them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_backbones import FAMILIES, write_backbone

from ume_r1_rag.errors import CheckpointError
from ume_r1_rag.template import (
    DISC_MARKER,
    GEN_MARKER,
    PromptTokenizer,
    completion_text,
    get_preset,
    user_text,
)
from ume_r1_trainer import backbone
from ume_r1_trainer.collate import Collator
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.made_records import write_records
from ume_r1_trainer.records import Side
from ume_r1_trainer.sft import Sft


def base(data: Path, output: Path, model: Path, **options: object) -> SftConfig:
    config = SftConfig(
        data=str(data), output=str(output), model=str(model), preset="serving", steps=2, batch_size=4,
        chunk_size=3, lr=1e-3, warmup=1, save_every=1, log_every=1, save_dtype="float32", threads=1,
    )  # fmt: skip
    return dataclasses.replace(config, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_records(tmp_path_factory.mktemp("made"), pairs=8, side=56)
    path = folder / "UME-sft-train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # One source of clips as well: the frames are pictures of the other one.
    for number in range(8):
        frames = [f"images/0-{(number + n) % 8}.png" for n in range(3)]
        query = {
            "conversations": [
                {"from": "human", "value": "<video>" + user_text("Understand the content of the video.")},
                {"from": "gpt", "value": completion_text("discs", "discs")},
            ],
            "video": frames,
        }
        rows.append({"dataset_name": "clips", "qry": query, "pos": rows[number]["qry"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_gets_markers_learns_and_keeps_them(family: str, made: Path, tmp_path: Path) -> None:
    start = write_backbone(family, tmp_path / "plain", spare_rows=family == "qwen2_vl")
    run = Sft(base(made, tmp_path / "run", start, source_weights={"clips": 1, "made0": 1}))
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    first = run.train_step(run.feed.batch(0))
    run.step = 1
    second = run.train_step(run.feed.batch(1))
    assert {first["source"], second["source"]} == {"clips", "made0"}
    assert all(np.isfinite([row[name] for row in (first, second) for name in ("ce", "disc", "gen")]))
    still = {name for name, p in run.model.named_parameters() if torch.equal(p, before[name])}
    assert not still, "all of the model learns"
    final = run.save_checkpoint("final")
    model, processor = backbone.load(final)
    tokenizer = processor.tokenizer
    for marker in (GEN_MARKER, DISC_MARKER):
        assert len(tokenizer.encode(marker, add_special_tokens=False)) == 1
        assert marker in tokenizer.decode(tokenizer.encode(marker), skip_special_tokens=True)
        assert tokenizer.convert_tokens_to_ids(marker) < model.get_input_embeddings().weight.shape[0]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(run.model.named_parameters())[name].detach()), name


def test_new_rows_start_as_their_donors_and_spare_ones_are_used(tmp_path: Path) -> None:
    from tokenizers import AddedToken

    model, processor = backbone.load(write_backbone("qwen2_vl", tmp_path / "spare"))
    rows = model.get_input_embeddings().weight.shape[0]
    mean = model.get_input_embeddings().weight[: len(processor.tokenizer)].mean(0)
    processor.tokenizer.add_tokens([AddedToken("<|object_ref_end|>", special=True)])
    donor = model.get_input_embeddings().weight[len(processor.tokenizer) - 1].clone()
    assert backbone.add_markers(model, processor.tokenizer) == [GEN_MARKER, DISC_MARKER]
    table = model.get_input_embeddings().weight
    assert len(table) == rows, "the table had room"
    gen, disc = (processor.tokenizer.convert_tokens_to_ids(name) for name in (GEN_MARKER, DISC_MARKER))
    assert torch.equal(table[gen], donor)
    torch.testing.assert_close(table[disc], mean, atol=1e-3, rtol=0.1)
    assert backbone.add_markers(model, processor.tokenizer) == []

    full, processor = backbone.load(write_backbone("qwen3_vl", tmp_path / "full", spare_rows=False))
    backbone.add_markers(full, processor.tokenizer)
    assert full.get_input_embeddings().weight.shape[0] >= len(processor.tokenizer)
    assert full.config.get_text_config().vocab_size == full.get_input_embeddings().weight.shape[0]


def test_qwen3s_video_prompt_is_its_processors_own_without_the_brackets_around_all(tmp_path: Path) -> None:
    _, processor = backbone.load(write_backbone("qwen3_vl", tmp_path / "q3"))
    backbone.add_markers(backbone.load(tmp_path / "q3")[0], processor.tokenizer)
    frames = []
    for number in range(4):
        Image.new("RGB", (64, 64), (number * 50, 0, 0)).save(tmp_path / f"{number}.png")
        frames.append(Image.open(tmp_path / f"{number}.png").convert("RGB"))
    collate = Collator(processor, get_preset("serving"), tmp_path)
    side = Side("a clip", (), tuple(f"{n}.png" for n in range(4)), completion_text("x", "y"))
    ours = collate([side]).model_inputs
    text = PromptTokenizer(processor.tokenizer)._chat(0, 1).replace("\ue000user text\ue001", "a clip")
    theirs = processor(
        text=[text + side.completion + "<|im_end|>"],
        videos=[frames],
        video_metadata=[{"fps": 2.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3]}],
        do_sample_frames=False,
        return_tensors="pt",
    )
    ids = theirs["input_ids"][0].tolist()
    start, end = (
        processor.tokenizer.convert_tokens_to_ids(f"<|vision_{name}|>") for name in ("start", "end")
    )
    at = ids.index(start)
    assert ids[at + 1] != processor.video_token_id, "5.19 puts the times inside"
    close = len(ids) - 1 - ids[::-1].index(end)
    bare = [token for place, token in enumerate(ids) if place not in (at, close)]
    assert ours["input_ids"][0].tolist() == bare
    torch.testing.assert_close(ours["pixel_values_videos"], theirs["pixel_values_videos"])
    assert ours["video_grid_thw"].tolist() == theirs["video_grid_thw"].tolist()


def test_lora_moves_adapters_and_marker_rows_and_is_merged_in_the_end(made: Path, tmp_path: Path) -> None:
    start = write_backbone("qwen2_vl", tmp_path / "plain")
    config = base(
        made, tmp_path / "run", start, lora={"r": 2, "lora_alpha": 4, "lora_dropout": 0.1},
        freeze_vision=True, gradient_checkpointing=True, steps=2, holdout=0.3, eval_every=1, eval_batches=1,
        block_size=1, source_weights={"made0": 1},
    )  # fmt: skip
    run = Sft(config)
    learning = {name for name, p in run.model.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in name or "trainable_tokens" in name for name in learning)
    final = run.train(progress=False)
    assert (final / "adapter" / "adapter_config.json").is_file()
    start_model, _ = backbone.load(tmp_path / "run" / "start")
    model, processor = backbone.load(final)
    assert not any("lora" in name for name, _ in model.named_parameters())
    names = {
        name
        for name, p in model.named_parameters()
        if not torch.equal(p, dict(start_model.named_parameters())[name])
    }
    assert any("q_proj" in name for name in names)
    assert not any("visual" in name for name in names)
    moved = (model.get_input_embeddings().weight != start_model.get_input_embeddings().weight).any(-1)
    markers = [processor.tokenizer.convert_tokens_to_ids(name) for name in (GEN_MARKER, DISC_MARKER)]
    assert sorted(moved.nonzero().flatten().tolist()) == sorted(markers)
    best = json.loads((tmp_path / "run/best.json").read_text())
    evaluations = [json.loads(line) for line in (tmp_path / "run/eval.jsonl").read_text().splitlines()]
    assert [row["step"] for row in evaluations] == [1, 2]
    assert best["loss"] == pytest.approx(min(row["loss"] for row in evaluations), abs=1e-3)
    backbone.load(tmp_path / "run" / "best")


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="bert"):
        backbone.check_family(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        backbone.check_family(tmp_path / "absent")
