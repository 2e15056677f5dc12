"""Our encoder against independent ones on the same checkpoint, and the layout of the released checkpoints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import official
import pytest
import torch
from transformers import AutoModelForImageTextToText

from ume_r1_bench.parity import PlainForward, forced_parity, run_parity
from ume_r1_bench.parity_inputs import ParityInput, clip, page, parity_inputs, picture
from ume_r1_bench.parity_report import Batched, Forced, Free, ParityReport
from ume_r1_rag import UmeR1Encoder
from ume_r1_rag.errors import CheckpointError, ConfigError, MarkerMissing
from ume_r1_rag.template import EMBED_PROMPT, PRESETS
from ume_r1_rag.types import MultimodalInput

# The report is made once, for the first test that wants it.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def report() -> ParityReport:
    inputs = parity_inputs()
    # One input at a time through a tiny model leaves a second thread nothing to do, and on a busy machine the
    # two wait for each other five times as long as one alone would work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # In bfloat16 nothing is demanded but numbers, and CPUs are slow at it: some of every kind will do.
    found = run_parity("nano", inputs, bf16_inputs=inputs[::13], max_new_tokens=48)
    torch.set_num_threads(threads)
    print(f"\n{found.table()}")
    return found


def test_the_inputs_are_of_every_kind():
    kinds = [entry.kind for entry in parity_inputs()]
    assert len(kinds) >= 60
    assert set(kinds) == {"text", "image", "image+text", "images", "video", "video+text", "mix"}
    assert all(len(entry.item.video) == 8 for entry in parity_inputs() if entry.item.video)


def test_the_prompt_is_the_one_of_mteb():
    from mteb.models.model_implementations.ume_r1 import UME_R1_EMBED_PROMPT

    assert EMBED_PROMPT == UME_R1_EMBED_PROMPT


def test_on_the_same_ids_both_vectors_equal_a_plain_forward(report):
    forced = report.forced
    assert forced.inputs == len(parity_inputs()) >= 50
    assert forced.same_prompts == forced.inputs
    assert max(forced.disc, forced.gen, forced.no_think) <= 1e-5


def test_disc_of_a_gen_request_equals_disc_alone(report):
    assert report.forced.disc_of_both <= 1e-5


def test_left_to_itself_it_agrees_with_mteb(report):
    under_its_rule, own_frames = report.free[:2]
    cosines = np.concatenate([under_its_rule.cosines, own_frames.cosines])
    assert len(cosines) >= 50
    assert {"text", "image", "image+text", "video"} <= under_its_rule.kinds | own_frames.kinds
    assert cosines.min() >= 0.9999


def test_left_to_itself_it_writes_what_mteb_writes(report):
    """Also where no marker came of it, as of frames that the wrapper enlarges beyond what a nano has seen."""
    for free in report.free[:2]:
        assert free.same_texts == free.inputs
    assert report.free[0].inputs == len(parity_inputs())
    assert report.free[1].inputs >= 12


def test_where_mteb_has_no_state_ours_is_flagged(report):
    for free in report.free:
        assert free.answered == free.unmarked


def test_in_float32_a_batch_changes_nothing(report):
    batched = report.batched[0]
    assert batched.dtype == "float32"
    assert batched.disc.min() >= 0.99999
    # A tie of two words may fall either way; everything else is the same.
    assert batched.same_texts >= 0.95 * len(batched.gen)
    assert np.quantile(batched.gen, 0.05) >= 0.99999


def test_in_bfloat16_the_figures_are_finite(report):
    assert [batched.dtype for batched in report.batched] == ["float32", "bfloat16"]
    for cosines in (report.free[2].cosines, report.batched[1].disc, report.batched[1].gen):
        assert len(cosines)
        assert np.all(np.isfinite(cosines))
        assert np.all(np.abs(cosines) <= 1 + 1e-5)


def test_the_table_shows_every_comparison(report):
    table = report.table()
    for line in ("prompt ids equal", "disc, plain forward", "gen, plain forward", "disc of both"):
        assert line in table
    for dtype in ("float32", "bfloat16"):
        assert f"gen, mteb's wrapper, {dtype}" in table
        assert f"gen, batch of 1, {dtype}" in table


def test_a_table_without_comparable_generations_can_be_printed():
    none, one = np.zeros(0, np.float32), np.ones(1, np.float32)
    empty = ParityReport(
        "m",
        Forced(1, 1, 0.0, 0.0, 0.0, 0.0),
        (Free("a wrapper", frozenset(), none, 1, 1, 0),),
        (Batched("float32", one, one, 1),),
    )
    assert "0/1  1, ours right 1" in empty.table()


def test_the_comparison_sees_a_wrong_blank_image(nano_encoder):
    """The proof can fail: a reference with another blank image is not equal."""
    text = [ParityInput("text", MultimodalInput("a red circle"))]
    found = forced_parity(nano_encoder, PlainForward(nano_encoder.model_path, blank_size=112), text)
    assert found.same_prompts == 0
    assert found.disc > 1e-4


MIXED = (
    MultimodalInput("a red circle"),
    MultimodalInput(images=(picture(1),)),
    MultimodalInput("what is it?", (picture(2), page(2))),
    MultimodalInput(video=clip(3)),
    MultimodalInput("and this?", (picture(4),), clip(5)),
)


@pytest.fixture(scope="module")
def official_encoder(official_checkpoint):
    return UmeR1Encoder(official_checkpoint, device="cpu", dtype="float32", max_new_tokens=12)


def test_the_official_layout_loads(official_encoder):
    backend = official_encoder.backend
    assert (backend.markers.gen, backend.markers.disc) == (official.GEN_ID, official.DISC_ID)
    assert backend.prompt_tokenizer.decode([official.GEN_ID, official.DISC_ID]) == "<gen_emb><disc_emb>"
    assert (official_encoder.dimension, backend.max_length) == (32, 32768)
    rope = backend.model.config.get_text_config().rope_parameters
    assert rope["rope_theta"] == 1e6
    assert rope["mrope_section"] == [2, 3, 3]
    # The checkpoint's limits hold below; the preset's budget above.
    assert backend.visual.image_limits.min_pixels == 3136
    assert backend.visual.image_limits.max_pixels == official_encoder.preset.image_limits.max_pixels


def test_the_official_layout_runs_in_both_modes(official_encoder, official_checkpoint):
    plain = PlainForward(official_checkpoint)
    embeddings = official_encoder.encode(list(MIXED), "both")
    only = official_encoder.encode(list(MIXED), "disc")
    for item, embedding, disc_only in zip(MIXED, embeddings, only, strict=True):
        ids, disc, gen = plain(item, embedding.completion_ids)
        assert len(ids) == embedding.tokens.prompt
        np.testing.assert_allclose(embedding.disc, disc, atol=1e-5)
        np.testing.assert_allclose(disc_only.disc, disc, atol=1e-5)
        # Untrained, it writes no marker: ours is put there, its state taken, and said so.
        assert embedding.gen_valid is False
        assert embedding.gen_issue == "token limit"
        assert embedding.completion_ids[-1] == official.GEN_ID
        assert embedding.tokens.completion == 12 == len(embedding.completion_ids) - 1
        np.testing.assert_allclose(embedding.gen, gen, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(embedding.gen), 1, atol=1e-5)
    assert np.abs(embeddings[0].disc - embeddings[1].disc).max() > 1e-3


def test_a_sampling_generation_config_is_ignored(official_encoder, official_checkpoint):
    """Greedy is the plain argmax: no sampling, no repetition penalty."""
    model = AutoModelForImageTextToText.from_pretrained(official_checkpoint, dtype=torch.float32).eval()
    texts = ["hello", "a red circle", "zebra"]
    first, second = (official_encoder.encode(texts, "gen") for _ in range(2))
    assert [e.completion_ids for e in first] == [e.completion_ids for e in second]
    bare = replace(PRESETS["serving"], name="bare", blank_size=None)
    encoder = UmeR1Encoder(official_checkpoint, device="cpu", dtype="float32", preset=bare, max_new_tokens=12)
    sampled = penalised = 0
    for text in texts:
        prompt = torch.tensor([encoder.prompt_ids(MultimodalInput(text))])
        ids = prompt
        with torch.inference_mode():
            for _ in range(12):
                ids = torch.cat([ids, model(ids, logits_to_keep=1).logits.argmax(-1)], dim=1)
        ours = encoder.encode(text, "gen").completion_ids[:12]
        assert ours == tuple(ids[0, prompt.shape[1] :].tolist())
        # What the checkpoint asks for is something else, or this test would show nothing.
        options = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 12}
        torch.manual_seed(0)
        sampled += not torch.equal(model.generate(prompt, **options), ids)
        penalised += not torch.equal(model.generate(prompt, do_sample=False, **options), ids)
    assert sampled
    assert penalised


def test_the_older_spelling_of_the_rope_is_the_same_model(official_encoder, official_checkpoint, tmp_path):
    """transformers 4.49 replaced ``"type": "mrope"`` when it saved a model again."""
    again = copied(official_checkpoint, tmp_path / "saved-again")
    config = json.loads((again / "config.json").read_text())
    section = config["rope_scaling"]["mrope_section"]
    config["rope_scaling"] = {"mrope_section": section, "rope_type": "default", "type": "default"}
    (again / "config.json").write_text(json.dumps(config))
    encoder = UmeR1Encoder(again, device="cpu", dtype="float32", max_new_tokens=12)
    np.testing.assert_array_equal(encoder.encode(picture(3)).disc, official_encoder.encode(picture(3)).disc)


def test_tied_embeddings_without_a_head_are_whole(tmp_path):
    encoder = UmeR1Encoder(
        official.build(tmp_path / "tied", tied=True), device="cpu", dtype="float32", max_new_tokens=4
    )
    model = encoder.backend.model
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert encoder.encode("hello", "gen").gen.shape == (32,)


def test_a_tokenizer_without_the_markers_is_refused(official_checkpoint, tmp_path):
    plain = copied(official_checkpoint, tmp_path / "qwen2-vl")
    official.write_tokenizer(plain, tuple(official.ADDED[:-2]))
    with pytest.raises(MarkerMissing, match=r"no <disc_emb> and no <gen_emb>.*nano"):
        UmeR1Encoder(plain, device="cpu")


def test_a_tokenizer_without_visual_tokens_is_refused(official_checkpoint, tmp_path):
    text_only = copied(official_checkpoint, tmp_path / "text-only")
    official.write_tokenizer(text_only, tuple(token for token in official.ADDED if token != "<|video_pad|>"))
    with pytest.raises(CheckpointError, match="video_pad"):
        UmeR1Encoder(text_only, device="cpu")


def test_missing_weights_are_refused(official_checkpoint, tmp_path):
    """transformers would fill them with random numbers."""
    from safetensors.torch import load_file, save_file

    torn = copied(official_checkpoint, tmp_path / "torn")
    weights = load_file(torn / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, torn / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights.*norm\.weight"):
        UmeR1Encoder(torn, device="cpu")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", "not weights"),
        ("config.json", "{"),
        ("config.json", '{"model_type": "bert"}'),
        ("config.json", json.dumps({**official.CONFIG, "hidden_size": 64})),
    ],
)
def test_a_directory_that_is_no_such_model_is_refused(official_checkpoint, tmp_path, name, content):
    broken = copied(official_checkpoint, tmp_path / "broken")
    (broken / name).write_text(content)
    with pytest.raises(CheckpointError):
        UmeR1Encoder(broken, device="cpu")


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json is not there"):
        UmeR1Encoder(tmp_path, device="cpu")


@pytest.mark.parametrize("option", [{"dtype": "int8"}, {"device": "gpu"}, {"device": "cuda:99"}])
def test_an_unknown_device_or_dtype_is_a_config_error(official_checkpoint, option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        UmeR1Encoder(official_checkpoint, **{"device": "cpu", **option})


def copied(checkpoint, directory):
    """A copy whose files may be replaced."""
    shutil.copytree(checkpoint, directory)
    return directory
