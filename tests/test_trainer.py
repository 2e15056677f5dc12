"""The cold start: records, batches, losses, optimiser, and a run that resumes to the bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import DISC_MARKER, EMBED_PROMPT, GEN_MARKER, completion_text, user_text
from ume_r1_trainer.config import SftConfig, load_recipe, recipes
from ume_r1_trainer.contrast import Sides, same_targets
from ume_r1_trainer.corpus import Corpus
from ume_r1_trainer.losses import IGNORE, info_nce, token_sums
from ume_r1_trainer.muon import orthogonalize
from ume_r1_trainer.optimizer import lr_factor
from ume_r1_trainer.records import RecordError, parse_pair
from ume_r1_trainer.sampler import SourceSampler
from ume_r1_trainer.scheduled import in_own_words
from ume_r1_trainer.sft import Sft

COLOURS = ("red", "green", "blue", "black")
SIZE = {"vocab_size": 400, "hidden": 32, "layers": 2, "heads": 1, "kv_heads": 1, "intermediate": 64}
VISION = {"vision": 32, "vision_depth": 1, "vision_heads": 1}


def side(text: str, image: str | list[str], colour: str) -> dict[str, object]:
    return {
        "conversations": [
            {"from": "human", "value": "<image>" + user_text(text)},
            {"from": "gpt", "value": completion_text(f"1 object: {colour} circle", f"{colour} circle")},
        ],
        "image": image,
    }


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    (root / "images").mkdir()
    Image.new("RGB", (28, 28), "white").save(root / "images/blank.jpg")
    with (root / "UME-sft-train.jsonl").open("w") as file:
        for source in ("find", "describe"):
            for number in range(24):
                colour = COLOURS[number % 4]
                picture = Image.new("RGB", (84, 84), "white")
                ImageDraw.Draw(picture).ellipse((number, number, number + 24, number + 24), fill=colour)
                picture.save(root / f"images/{source}{number}.png")
                text = side(f"a {colour} circle", "images/blank.jpg", colour)
                shown = side("Represent the given image.", [f"images/{source}{number}.png"], colour)
                query, target = (text, shown) if source == "find" else (shown, text)
                file.write(json.dumps({"dataset_name": source, "qry": query, "pos": target}) + "\n")
    return root


def config(records: Path, output: Path, **options: object) -> SftConfig:
    base = SftConfig(
        data=str(records),
        output=str(output),
        scratch={**SIZE, **VISION},
        preset="serving",
        steps=6,
        batch_size=8,
        phases=[
            {"from": 0.0, "disc": 0.0, "gen": 0.0, "ce": 1.0},
            {"from": 0.34, "disc": 0.5, "gen": 0.2, "ce": 1.0, "own_words": 0.5},
        ],
        optimizer="muon",
        lr=3e-3,
        warmup=2,
        save_every=3,
        log_every=1,
        save_dtype="float32",
        threads=1,
    )
    return dataclasses.replace(base, **options)  # type: ignore[arg-type]


def test_records_are_read_by_offset_and_keep_their_order(records: Path, tmp_path: Path) -> None:
    corpus = Corpus(records)
    corpus.prepare(tmp_path)
    assert len(corpus) == 48
    rows = {name: numbers.tolist() for name, numbers in corpus.datasets.items()}
    assert rows == {"find": list(range(24)), "describe": list(range(24, 48))}
    pair = corpus[25]
    assert pair.query.text == "Represent the given image."
    assert pair.query.images == ("images/describe1.png",)
    assert pair.positive.text == "a green circle"
    assert DISC_MARKER not in pair.positive.text
    assert EMBED_PROMPT not in pair.positive.text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"qry": None}, "qry"),
        ({"pos": {"conversations": []}}, "pos.conversations"),
        ({"qry": side("x", "y", "red") | {"conversations": [{"value": "x"}, {"value": "<think>"}]}}, "qry"),
        ({"dataset_name": None, "pos": 3}, "pos"),
    ],
)
def test_a_record_of_another_shape_is_refused_by_place(change: dict[str, object], named: str) -> None:
    record = {"dataset_name": "d", "qry": side("x", "y", "red"), "pos": side("x", "y", "red")} | change
    with pytest.raises(RecordError, match=rf"file:7.*{named}"):
        parse_pair(record, "file:7")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(8, 60), min_size=1, max_size=4))
def test_batches_have_one_source_whole_blocks_and_no_repeat_within_an_epoch(
    seed: int, sizes: list[int]
) -> None:
    rows, datasets = 0, {}
    for number, size in enumerate(sizes):
        datasets[f"d{number}"] = list(range(rows, rows + size))
        rows += size
    sampler = SourceSampler(datasets, batch_size=8, block_size=4, seed=seed)
    seen: dict[str, list[int]] = {name: [] for name in datasets}
    for step in range(40):
        name, batch = sampler.batch(step)
        assert len(batch) == 8
        assert set(batch) <= set(datasets[name])
        for start in (0, 4):
            assert batch[start : start + 4] == list(range(batch[start], batch[start] + 4))
        seen[name] += batch
        assert SourceSampler(datasets, 8, 4, seed).batch(step) == (name, batch)
    for name, got in seen.items():
        epoch = len(datasets[name]) // 8 * 8
        assert len(set(got[:epoch])) == len(got[:epoch])


def test_source_weights_are_kept() -> None:
    datasets = {"a": list(range(64)), "b": list(range(64, 128))}
    sampler = SourceSampler(datasets, 8, 4, 0, {"a": 3, "b": 1})
    names = [sampler.batch(step)[0] for step in range(128)]
    assert names.count("a") == 96
    alone = SourceSampler(datasets, 8, 4, 0, {"b": 2})
    assert {alone.batch(step)[0] for step in range(64)} == {"b"}
    with pytest.raises(ConfigError, match="nosuch"):
        SourceSampler(datasets, 8, 4, 0, {"nosuch": 1})


def test_a_phase_may_have_its_own_sources(records: Path, tmp_path: Path) -> None:
    losses = {"disc": 0.0, "gen": 0.0, "ce": 1.0}
    phases = [
        {"from": 0.0, **losses, "sources": {"find": 1}},
        {"from": 0.5, **losses},
        {"from": 0.75, **losses},
    ]
    run = Sft(config(records, tmp_path, steps=16, phases=phases, source_weights={"find": 1, "describe": 1}))
    sources = [run.feed.rows(step)[0] for step in range(16)]
    assert set(sources[:8]) == {"find"}
    assert set(sources[8:]) == {"find", "describe"}
    # The third phase has the second's sources, and goes on in its order.
    plain = SourceSampler(run.corpus.datasets, 8, 4, run.config.seed + 1, {"find": 1, "describe": 1})
    assert sources[8:] == [plain.batch(step)[0] for step in range(8, 16)]


def test_info_nce_equals_equation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.nn.functional.normalize(torch.randn(5, 7, generator=generator), dim=-1)
    t = torch.nn.functional.normalize(torch.randn(5, 7, generator=generator), dim=-1)
    tau = 0.1
    terms = [
        -np.log(np.exp(float(q[i] @ t[i]) / tau) / sum(np.exp(float(q[i] @ t[j]) / tau) for j in range(5)))
        for i in range(5)
    ]
    assert float(info_nce(q, t, tau, symmetric=False)) == pytest.approx(np.mean(terms), rel=1e-5)
    back = float(info_nce(t, q, tau, symmetric=False))
    assert float(info_nce(q, t, tau)) == pytest.approx((np.mean(terms) + back) / 2, rel=1e-5)


def test_a_pair_with_the_same_target_is_no_negative() -> None:
    q = torch.eye(3)
    t = torch.stack([q[0], q[0], q[2]])
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    masked = float(info_nce(q, t, 0.02, same, symmetric=False))
    without = float(info_nce(q[[0, 2]], t[[0, 2]], 0.02, symmetric=False))
    assert float(info_nce(q, t, 0.02, symmetric=False)) > masked
    assert without == pytest.approx(0, abs=1e-5)


def test_token_sums_are_equation_3_and_ignore_what_is_not_predicted() -> None:
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[IGNORE, IGNORE, 3, 1], [IGNORE, IGNORE, IGNORE, 2]])
    logs = torch.log_softmax(logits, -1)
    expected = [-(logs[0, 1, 3] + logs[0, 2, 1]), -logs[1, 2, 2]]
    torch.testing.assert_close(token_sums(logits, labels), torch.stack(expected))


def test_orthogonalize_flattens_the_spectrum() -> None:
    matrices = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(2))
    for stack in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalize(stack))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [lr_factor(step, 100, 10, [[0.5, 1.0], [1.0, 0.0]]) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:51] == [1.0] * 41
    assert factors[100] == 0.0
    assert all(a >= b for a, b in itertools.pairwise(factors[50:]))


def test_a_batch_reads_the_states_at_the_markers_and_predicts_the_completion(
    records: Path, tmp_path: Path
) -> None:
    run = Sft(config(records, tmp_path))
    batch = run.feed.batch(0)
    markers = run.collate.tokens.markers
    assert [len(chunk) for chunk in batch.chunks] == [8, 8]
    for chunk in batch.chunks:
        part = batch.read(chunk)
        ids = part.model_inputs["input_ids"]
        rows = torch.arange(len(ids))
        assert (ids[rows, part.disc] == markers.disc).all()
        assert (ids[rows, part.gen] == markers.gen).all()
        predicted = part.labels != IGNORE
        assert torch.equal(part.labels[predicted], ids[predicted])
        for row in range(len(ids)):
            text = run.processor.tokenizer.decode(part.labels[row][predicted[row]])
            assert text.startswith("<think>1 object")
            assert text.endswith(f"{GEN_MARKER}<|im_end|>")
    keys = batch.sides.keys()
    same = same_targets(keys[:8], keys[8:])
    assert same.diagonal().all()
    assert torch.equal(same, same.T)
    # Four colours among eight texts: some pairs of the batch must share one.
    assert same.sum() > 8


def test_own_words_take_the_likeliest_tokens_and_leave_markers_media_and_prompts(
    records: Path, tmp_path: Path
) -> None:
    sft = Sft(config(records, tmp_path))
    feed = sft.feed.batch(0)
    batch = feed.read(feed.chunks[1])
    every = torch.ones(8, dtype=torch.bool)
    written = in_own_words(sft.model, batch, every, 1, sft._fixed)
    ids, own = batch.model_inputs["input_ids"], written.model_inputs["input_ids"]
    with torch.no_grad():
        best = sft.model(**batch.model_inputs).logits[:, :-1].argmax(-1)
    may = (batch.labels[:, 1:] != IGNORE) & ~sft._fixed[ids[:, 1:]] & ~sft._fixed[best]
    assert torch.equal(own[:, 1:], torch.where(may, best, ids[:, 1:]))
    assert (own != ids).any(), "a model that knows nothing writes something else"
    assert torch.equal(written.labels, batch.labels), "what is to be learned stays the truth"
    rows = torch.arange(len(ids))
    assert (own[rows, batch.gen] == sft.collate.tokens.markers.gen).all()
    # The second pass goes on from what the first one wrote.
    twice = in_own_words(sft.model, batch, every, 2, sft._fixed)
    with torch.no_grad():
        best = sft.model(**written.model_inputs).logits[:, :-1].argmax(-1)
    may = (batch.labels[:, 1:] != IGNORE) & ~sft._fixed[ids[:, 1:]] & ~sft._fixed[best]
    assert torch.equal(twice.model_inputs["input_ids"][:, 1:], torch.where(may, best, ids[:, 1:]))
    assert in_own_words(sft.model, batch, ~every, 1, sft._fixed) is batch


def test_what_is_right_for_a_query_is_no_negative_of_it(records: Path) -> None:
    corpus = Corpus(records)
    keys = Sides.of("find", [corpus[0], corpus[1], corpus[4]], 0).keys()
    same = same_targets(keys[:3], keys[3:])
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    # Equal targets of other queries, and a hard negative that is some other pair's positive.
    query, target = torch.tensor([1, 2, 1]), torch.tensor([7, 8, 9, 9, 5])
    assert same_targets(query, target).tolist() == [
        [True, False, True, True, False],
        [False, True, False, False, False],
        [True, False, True, True, False],
    ]


def test_a_run_learns_resumes_to_the_bit_and_loads_as_a_checkpoint(records: Path, tmp_path: Path) -> None:
    whole = Sft(config(records, tmp_path / "whole"))
    final = whole.train(progress=False)
    rows = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["ce"] < rows[0]["ce"]
    assert (tmp_path / "whole/loss.png").stat().st_size > 5000

    assert Sft(config(records, tmp_path / "cut")).train(stop_at=3, progress=False) == tmp_path / "cut"
    resumed = Sft(config(records, tmp_path / "cut"))
    assert resumed.step == 3
    resumed.train(progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name

    from ume_r1_rag.encoder import UmeR1Encoder

    encoder = UmeR1Encoder(final, max_new_tokens=8)
    assert encoder.encode("a red circle", "both").gen.shape == (32,)


def test_a_directory_with_another_run_is_refused(records: Path, tmp_path: Path) -> None:
    Sft(config(records, tmp_path)).train(stop_at=1, progress=False)
    with pytest.raises(ConfigError, match="lr"):
        Sft(config(records, tmp_path, lr=1e-3))


def test_frozen_vision_moves_only_the_merger_and_the_language_model(records: Path, tmp_path: Path) -> None:
    run = Sft(config(records, tmp_path, freeze_vision=True))
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.train_step(run.feed.batch(0))
    moved = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert not any("visual.blocks" in name or "patch_embed" in name for name in moved)
    assert any("merger" in name for name in moved)
    assert any("language_model.layers" in name for name in moved)


def test_recipes_load_and_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    assert "nano" in recipes()
    recipe = load_recipe("nano", data="d", output="o", steps=7, seed=None)
    assert (recipe.steps, recipe.seed) == (7, 0)
    with pytest.raises(ConfigError, match="nosuch"):
        load_recipe("nano", data="d", output="o", nosuch=1)
    with pytest.raises(ConfigError, match="nano"):
        load_recipe("other", data="d", output="o")
    whole = load_recipe("nano", data="d", output="o")
    assert [whole.weights(step)["disc"] for step in (0, 800, whole.steps - 1)] == [0.0, 0.2, 0.3]
    with pytest.raises(ConfigError, match="phases"):
        load_recipe("nano", data="d", output="o", phases=[{"from": 0.5, "disc": 1, "gen": 1, "ce": 1}])
    bad = {"from": 0.0, "disc": 1, "gen": 1, "ce": 1, "own_words": 2}
    with pytest.raises(ConfigError, match="own_words=2"):
        load_recipe("nano", data="d", output="o", phases=[bad])
    with pytest.raises(ConfigError, match="temperature"):
        load_recipe("nano", data="d", output="o", temperature=0)
