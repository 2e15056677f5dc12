"""Encoders that a process shares: who gets the same one, and when it is closed."""

import gc
import threading
from functools import partial

import pytest

from langchain_ume_r1 import UmeR1Embeddings
from llama_index.embeddings.ume_r1 import UmeR1Embedding
from ume_r1_rag.encoder import shared
from ume_r1_rag.encoder.shared import share_encoder
from ume_r1_rag.errors import BackendError, ConfigError
from ume_r1_rag.frameworks import EncoderOptions, LazyEncoder

# An option apart from other tests', so that nobody else has these.
OPTIONS = {"max_new_tokens": 77}


def test_the_same_options_share_one_and_the_last_that_closes_it_closes_it():
    one, two = share_encoder("nano", **OPTIONS), share_encoder("nano", **OPTIONS)
    assert one.encoder is two.encoder
    one.close()
    one.close()
    two.encoder.encode("here")
    two.close()
    with pytest.raises(BackendError, match="was closed"):
        two.encoder.encode("gone")


def test_a_forgotten_lease_closes_nothing():
    encoder = share_encoder("nano", **OPTIONS).encoder
    gc.collect()
    assert encoder.encode("still here").disc.shape == (encoder.dimension,)
    with share_encoder("nano", **OPTIONS) as again:
        assert again.encoder is not encoder, "it was given back"
    encoder.close()


def test_closing_waits_for_the_batch_that_runs_and_then_says_so():
    encoder = share_encoder("nano", **OPTIONS).encoder
    begun, errors = threading.Event(), []
    hook = encoder.backend.model.model.register_forward_pre_hook(lambda *_: begun.set())

    def encode():
        try:
            encoder.encode(["a red circle"] * 64, "gen", think=4)
        except Exception as error:  # noqa: BLE001 -- looked at below
            errors.append(error)

    thread = threading.Thread(target=encode)
    thread.start()
    assert begun.wait(20)
    encoder.close()
    thread.join(60)
    hook.remove()
    assert [type(error) for error in errors] in ([], [BackendError]), errors


def test_what_a_server_decides_is_refused():
    with pytest.raises(ConfigError, match="device: the server at base_url decides that"):
        share_encoder(base_url="http://localhost:9", device="cpu")


def test_a_cache_that_cannot_be_opened_is_no_encoder_without_one(tmp_path):
    lazy = LazyEncoder(EncoderOptions(model="nano", cache=tmp_path, max_new_tokens=77))
    for _ in range(2):
        with pytest.raises(Exception, match=str(tmp_path)):
            lazy.get()
    assert lazy.made is None


@pytest.mark.parametrize("make", [partial(UmeR1Embedding, "nano"), partial(UmeR1Embeddings, model="nano")])
@pytest.mark.parametrize(
    "said",
    [
        {"backend": "vllm", "vllm": {"data_parallel_size": 2}, "think": 64, "dtype": "bfloat16"},
        {"base_url": "http://host:1", "api_key": "a key", "timeout_s": 3.0, "max_retries": 1},
    ],
)
def test_what_is_said_in_either_framework_reaches_what_loads(make, said, monkeypatch):
    asked = []

    def load(given):
        asked.append({name: value for name, value in given.items() if name != "concurrency"})
        raise ConfigError("seen")

    monkeypatch.setattr(shared, "_load", load)
    with pytest.raises(ConfigError, match="seen"):
        _ = make(**said).encoder
    assert {name: value for name, value in asked[0].items() if value is not None} == {"model": "nano", **said}
