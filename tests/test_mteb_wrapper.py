"""Ours for mteb: what its tasks hand over, where results are kept, and mteb's own trial of a model."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ume_r1_bench.mteb_wrapper import MtebEncoder, items_of
from ume_r1_rag.errors import ConfigError, EncodeErrors
from ume_r1_rag.types import MultimodalInput

RED = Image.new("RGB", (56, 56), "red")


class Loader(list):
    """Batches with a dataset that names their columns, as mteb's dataloaders do."""

    def __init__(self, *batches):
        super().__init__(batches)
        self.dataset = type(
            "Dataset", (), {"features": {name: None for batch in batches for name in batch}}
        )()


TASK = SimpleNamespace(prompt={"query": "Find a page:"})


def encode(model, *batches, side=None):
    return model.encode(
        Loader(*batches),
        task_metadata=TASK,
        hf_split="test",
        hf_subset="default",
        prompt_type=side,
        show_progress_bar=False,
    )


def test_it_is_what_mteb_takes_for_an_encoder(nano_encoder):
    from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    model = MtebEncoder(encoder=nano_encoder)
    assert isinstance(model, EncoderProtocol)
    assert not isinstance(model, CrossEncoderProtocol | SearchProtocol)
    assert model.mteb_model_meta.modalities == ["text", "image", "video"]
    assert model.mteb_model_meta.embed_dim == nano_encoder.dimension


def test_two_settings_never_share_a_place_for_results(nano_encoder):
    made = [
        MtebEncoder(encoder=nano_encoder, **options).mteb_model_meta
        for options in (
            {"mode": "disc"},
            {"mode": "disc", "instructions": True},
            {"mode": "gen"},
            {"mode": "gen", "think": "none"},
            {"mode": "gen", "think": 32},
        )
    ]
    names = [meta.name for meta in made]
    assert names == [
        *2 * ["ume-r1-rag/nano-disc"],
        *(f"ume-r1-rag/nano-{ending}" for ending in ("gen", "gen-think-none", "gen-think-32")),
    ]
    assert len({meta.revision for meta in made}) == 5
    assert MtebEncoder(encoder=nano_encoder).mteb_model_meta.revision == made[0].revision


def test_what_mteb_knows_of_a_published_model_is_kept(nano_encoder, monkeypatch):
    named = {**nano_encoder.fingerprint, "model": "zhibinlan/UME-R1-2B"}
    monkeypatch.setattr(type(nano_encoder), "fingerprint", property(lambda self: named))
    meta = MtebEncoder(encoder=nano_encoder, mode="gen").mteb_model_meta
    assert meta.name == "ume-r1-rag/UME-R1-2B-gen"
    assert meta.adapted_from == "zhibinlan/UME-R1-2B"
    assert "MSVDT2VRetrieval" in meta.training_datasets, "so that a table can mark what was trained on"


def test_vectors_are_the_encoders(nano_encoder):
    batch = {"text": ["a red circle", "a ring"], "image": [RED, [RED, RED]]}
    items = [MultimodalInput("a red circle", (RED,)), MultimodalInput("a ring", (RED, RED))]
    found = encode(MtebEncoder(encoder=nano_encoder), batch, {"text": ["a red circle"], "image": [RED]})
    assert (found.shape, found.dtype) == ((3, nano_encoder.dimension), np.float32)
    own = nano_encoder.encode(items)
    assert found[:2] == pytest.approx(np.stack([one.disc for one in own]), abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)
    model = MtebEncoder(encoder=nano_encoder, mode="gen", think="none")
    gen = nano_encoder.encode(items[0], "gen", think="none").gen
    assert encode(model, batch)[0] == pytest.approx(gen, abs=1e-5)
    assert model.encoded == 2
    assert encode(model, side="query").shape == (0, nano_encoder.dimension)


def test_a_tasks_prompt_is_put_before_texts_if_asked_for(nano_encoder):
    plain, prompted = (MtebEncoder(encoder=nano_encoder, instructions=on) for on in (False, True))
    batch = {"text": ["a ring"]}
    own = nano_encoder.encode(["a ring", "Find a page: a ring"])
    assert encode(plain, batch, side="query")[0] == pytest.approx(own[0].disc, abs=1e-5)
    assert encode(prompted, batch, side="query")[0] == pytest.approx(own[1].disc, abs=1e-5)
    assert encode(prompted, batch, side="document")[0] == pytest.approx(own[0].disc, abs=1e-5)


def test_rows_become_inputs():
    import torch

    video = torch.zeros(3, 3, 8, 6, dtype=torch.uint8)
    video[1, 0] = 255
    rows = list(items_of({"text": ["a", " ", "", "b"], "video": [None, None, video, video]}, "Find:"))
    assert [row.text for row in rows] == ["a", None, None, "b"]
    assert rows[1].images[0].size == (56, 56), "an empty text is the blank picture that a text gets"
    assert rows[2].images == ()
    assert [frame.size for frame in rows[2].video] == [(6, 8)] * 3
    assert rows[2].video[1].getpixel((0, 0)) == (255, 0, 0)
    assert rows[3].instruction == "Find:"
    assert list(items_of({})) == []


def test_what_cannot_be_read_is_an_error_and_no_vector(nano_encoder):
    with pytest.raises(EncodeErrors):
        encode(MtebEncoder(encoder=nano_encoder), {"image": [RED, "gone.png"]})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "both"}, "one vector of each input"),
        ({"mode": "gen", "think": 0}, "is no budget"),
        ({"dtype": "float32"}, "dtype: the encoder that is given"),
    ],
)
def test_options_that_cannot_work_are_refused(nano_encoder, options, says):
    with pytest.raises(ConfigError, match=says):
        MtebEncoder(encoder=nano_encoder, **options)


def test_an_encoder_of_disc_alone_has_no_gen(make_encoder):
    with pytest.raises(ConfigError, match="disc vectors alone"):
        MtebEncoder(encoder=make_encoder(spaces=("disc",)), mode="gen")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("mode", "think"), [("disc", "full"), ("gen", "none"), ("gen", 16)])
def test_mtebs_trial_of_a_model_passes(nano_encoder, mode, think):
    from importlib.util import find_spec

    import mteb
    from mteb.results.task_result import TaskResult

    results = mteb.mock_run(MtebEncoder(encoder=nano_encoder, mode=mode, think=think))
    states = dict(results.items())
    ran = [name for name, state in states.items() if isinstance(state, TaskResult)]
    failed = {name: state.exception for name, state in states.items() if state and name not in ran}
    print(f"{mode}, think {think}: {len(ran)} passed, {len(failed)} not run, {states and len(states)} tasks")
    assert results.all_passed
    # mteb itself wants torchcodec for videos; what else fails is ours.
    assert all("torchcodec" in why for why in failed.values())
    assert (len(ran), len(failed)) == ((50, 0) if find_spec("torchcodec") else (43, 7))
