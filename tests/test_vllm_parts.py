"""The parts of the vLLM backend that need no engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from served import runs, wait_until
from transformers import AutoModelForImageTextToText

from ume_r1_bench.parity_inputs import clip, parity_inputs
from ume_r1_rag import UmeR1Encoder, nano_path
from ume_r1_rag.backends.base import Sampling
from ume_r1_rag.backends.loading import load_processor
from ume_r1_rag.backends.vllm.completion import Completion
from ume_r1_rag.backends.vllm.norm import FinalNorm
from ume_r1_rag.backends.vllm.options import VllmOptions
from ume_r1_rag.errors import CheckpointError, ConfigError
from ume_r1_rag.template import PRESETS, RepetitionStop, VisualProcessor

END, WORD, MARKER = 9, 5, 7


@dataclass
class Piece:
    token_ids: list[int]
    finish_reason: str | None = None


@dataclass
class Output:
    """As vLLM's ``RequestOutput``, as far as it is read."""

    outputs: list[Piece]
    finished: bool = False
    num_cached_tokens: int | None = None


def completion(pieces, reason, **sampling):
    """Returns a completion that was handed out in pieces, and whether it asked for a stop."""
    made, stopped = Completion(Sampling(**sampling), [END]), False
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        stopped |= made.take(Output([Piece(piece, reason if last else None)], last))
    return made, stopped


def test_a_completion_that_ends_by_its_end_token():
    made, stopped = completion([[1, 2], [3, END]], "stop", max_new_tokens=10)
    assert (made.tokens, made.decoded, made.finish, stopped) == ([1, 2, 3], 4, "stop", False)


def test_a_completion_at_its_cap():
    made, _ = completion([[1, 2], [3]], "length", max_new_tokens=3)
    assert (made.tokens, made.decoded, made.finish) == ([1, 2, 3], 3, "length")


def test_nothing_is_decoded_of_a_replay():
    made, _ = completion([[4]], "length", max_new_tokens=0)
    assert (made.tokens, made.decoded, made.finish) == ([], 0, "replay")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60))
def test_a_loop_is_cut_where_transformers_looks_for_it(sizes):
    """However many tokens come at a time: at a multiple of eight, and what came after is dropped."""
    pieces = [[WORD] * size for size in sizes]
    total = sum(sizes)
    loop = RepetitionStop(max_period=4, min_repeats=3, min_tokens=20)
    made, stopped = completion(pieces, "length", max_new_tokens=max(total, 30), repetition=loop)
    if total >= 24:
        assert (made.finish, made.decoded, len(made.tokens)) == ("repetition", 24, 24)
    else:
        assert (made.finish, made.decoded, stopped) == ("length", total, False)


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="cannot be quantised"):
        VllmOptions(way="one-engine", kv_cache_dtype="fp8")
    with pytest.raises(ConfigError, match="way='both'"):
        VllmOptions(way="both")
    with pytest.raises(ConfigError, match="gpu_memory_utilization"):
        VllmOptions(gpu_memory_utilization=1.5)
    with pytest.raises(ConfigError, match="tensor_parallel_size"):
        VllmOptions(tensor_parallel_size=0)
    with pytest.raises(ConfigError, match="in_process"):
        VllmOptions(in_process=True, tensor_parallel_size=2)
    for name in ("start_timeout", "silence_timeout"):
        with pytest.raises(ConfigError, match=name):
            VllmOptions(**{name: 0})
    with pytest.raises(ConfigError, match='for backend="vllm"'):
        UmeR1Encoder("nano", vllm={"way": "auto"})


def test_what_is_no_option_of_ours_is_passed_to_vllm():
    options = VllmOptions.of({"way": "two-pass", "max_num_batched_tokens": 512})
    assert (options.way, options.extra) == ("two-pass", {"max_num_batched_tokens": 512})
    assert VllmOptions.of(options) is options
    assert VllmOptions.of(None) == VllmOptions()
    assert VllmOptions(kv_cache_dtype="fp8_e4m3").quantized_cache
    assert json.dumps(options.as_dict())


def test_the_final_norm_is_the_models():
    model = AutoModelForImageTextToText.from_pretrained(nano_path(), dtype=torch.float32)
    states = torch.randn(5, model.config.get_text_config().hidden_size) * 13
    with torch.no_grad():
        expected = model.model.language_model.norm(states).numpy()
    ours = FinalNorm(nano_path(), model.config.get_text_config().rms_norm_eps)(states.numpy())
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert ours.dtype == np.float32


def test_a_checkpoint_without_a_norm_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"lm_head.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no final norm"):
        FinalNorm(tmp_path, 1e-6)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_resized_pixels_are_cut_into_the_same_patches(preset):
    """So vLLM, which cuts by itself, sees what the model was trained on."""
    from PIL import Image

    visual = VisualProcessor(load_processor(nano_path()), preset)
    for entry in parity_inputs()[::4]:
        images = list(entry.item.images)
        if images:
            expected, (pixels, tokens) = visual.images(images), visual.resized_images(images)
            again = visual.images([Image.fromarray(one) for one in pixels])
            assert tokens == expected.tokens
            assert torch.equal(again.pixels, expected.pixels)
    for count in (8, 3, 1):
        frames = list(clip(2))[:count]
        expected, (array, tokens) = visual.video(frames), visual.resized_video(frames)
        again = visual.video([Image.fromarray(one) for one in array])
        assert (len(array), tokens) == (count, expected.tokens[0])
        assert torch.equal(again.pixels, expected.pixels)


@pytest.mark.vllm
def test_marker_rows_are_those_of_the_prompt_and_of_the_completion():
    from ume_r1_rag.backends.vllm.states.connector import marker_rows

    disc, gen = 3, MARKER
    # The prompt holds a literal <gen_emb>, which is none.
    prompt = [1, disc, gen, 2]
    assert marker_rows([*prompt, 1, gen, 8], 4, 6, disc, gen) == {"disc": 1, "gen": 5}
    assert marker_rows([*prompt, 1, 8], 4, 5, disc, gen) == {"disc": 1}
    # The last token decoded was not fed, so it has no state.
    assert marker_rows([*prompt, 1, gen], 4, 5, disc, gen) == {"disc": 1}
    # The last of several counts.
    assert marker_rows([*prompt, gen, gen, 8], 4, 6, disc, gen) == {"disc": 1, "gen": 5}
    # Cut off before its marker: nothing.
    assert marker_rows(prompt, 4, 1, disc, gen) == {}


@pytest.mark.vllm
def test_a_batch_invariant_cpu_is_refused():
    from ume_r1_rag.backends.vllm.states import arguments

    if not arguments.on_cpu():
        pytest.skip("there is such a mode on this device")
    visual = VisualProcessor(load_processor(nano_path()), PRESETS["serving"])
    with pytest.raises(ConfigError, match="no batch-invariant mode on cpu"):
        arguments.common(nano_path(), VllmOptions(deterministic=True), "float32", visual)


@pytest.fixture
def arguments_for(monkeypatch):
    """Returns the engine arguments of options, as on a GPU or as here."""
    from ume_r1_rag.backends.vllm.states import arguments

    def make(gpu=True, share=1.0, **options):
        if gpu:
            monkeypatch.setattr(arguments, "on_cpu", lambda: False)
        visual = VisualProcessor(load_processor(nano_path()), PRESETS["serving"])
        return arguments.common(nano_path(), VllmOptions.of(options), "bfloat16", visual, share)

    return make


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("option", "at"),
    [
        ({"tensor_parallel_size": 2}, "parallel_config"),
        ({"data_parallel_size": 3}, "parallel_config"),
        ({"quantization": "fp8"}, "model_config"),
        ({"gpu_memory_utilization": 0.6}, "cache_config"),
        ({"kv_cache_dtype": "fp8"}, "cache_config"),
        ({"max_model_len": 4096}, "model_config"),
        ({"max_num_seqs": 7}, "scheduler_config"),
        ({"enforce_eager": True}, "model_config"),
        ({"max_num_batched_tokens": 512}, "scheduler_config"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_arrives_in_vllms_own_config(arguments_for, option, at):
    """vLLM's, made by vLLM of what we hand over, for a GPU; no engine is started."""
    from vllm import EngineArgs

    [(name, value)] = option.items()
    config = getattr(EngineArgs(**arguments_for(**option)).create_engine_config(), at)
    assert getattr(config, {"kv_cache_dtype": "cache_dtype"}.get(name, name)) == value
    assert VllmOptions.of(option) != VllmOptions()


@pytest.mark.vllm
def test_two_engines_share_the_memory_that_is_meant_for_both(arguments_for):
    assert arguments_for(share=0.5, gpu_memory_utilization=0.6)["gpu_memory_utilization"] == 0.3
    assert arguments_for(share=0.5)["gpu_memory_utilization"] == 0.45
    assert "gpu_memory_utilization" not in arguments_for()


@pytest.mark.vllm
def test_deterministic_is_vllms_batch_invariant_mode(arguments_for, monkeypatch):
    from vllm.envs import environment_variables

    # As an engine reads it that starts; `envs.VLLM_BATCH_INVARIANT` may be what an earlier one kept.
    invariant = environment_variables["VLLM_BATCH_INVARIANT"]
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "0")
    arguments_for()
    assert not invariant()
    arguments_for(deterministic=True)
    assert invariant()


@pytest.mark.vllm
def test_a_quantised_cache_means_two_passes_and_says_so(monkeypatch, caplog):
    from ume_r1_rag.backends.vllm.backend import VllmBackend

    # No engine is started: fp8 needs a GPU.
    backend = object.__new__(VllmBackend)
    backend.options = VllmOptions(kv_cache_dtype="fp8")
    monkeypatch.setattr(VllmBackend, "two_pass", lambda self: "two passes")
    assert backend._start() == "two passes"
    assert "kv_cache_dtype=fp8 leaves no room for hidden states" in caplog.text


@pytest.mark.vllm
def test_rows_arrive_with_their_places():
    import queue

    from ume_r1_rag.backends.vllm.states.receiver import Receiver, connect

    arrived = queue.Queue()
    receiver = Receiver(lambda key, rows: arrived.put((key, rows)))
    try:
        socket = connect(receiver.address)
        states = np.arange(6, dtype=np.float32).reshape(2, 3)
        head = json.dumps({"key": "a", "rows": {"disc": 4, "gen": 9}}).encode()
        socket.send_multipart([head, states.tobytes()])
        key, rows = arrived.get(timeout=10)
        socket.close()
    finally:
        receiver.close()
    assert key == "a"
    assert rows["gen"][0] == 9
    np.testing.assert_array_equal(rows["gen"][1], [3, 4, 5])


@pytest.mark.vllm
def test_an_engines_processes_on_a_cpu_do_not_spin(monkeypatch):
    """vLLM would put the worker into a process of its own, with threads on all of two cores."""
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    from ume_r1_rag.backends.vllm.states import arguments

    if not arguments.on_cpu():
        pytest.skip("on another device vLLM does so by itself")
    monkeypatch.delenv("VLLM_CPU_NUM_OF_RESERVED_CPU", raising=False)
    visual = VisualProcessor(load_processor(nano_path()), PRESETS["serving"])

    def common(**options):
        return arguments.common(nano_path(), VllmOptions.of(options), "float32", visual)

    assert "distributed_executor_backend" not in common()
    assert common(in_process=False)["distributed_executor_backend"] is UniProcExecutor
    assert common(in_process=False, distributed_executor_backend="mp")["distributed_executor_backend"] == "mp"
    assert "distributed_executor_backend" not in common(tensor_parallel_size=2)
    assert os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "1"


CLIENT = """
import multiprocessing, os, signal, time
from ume_r1_rag.backends.vllm.states import child

def engine():
    child.obey()
    os.kill(os.getpid(), signal.SIGINT)
    print("still there", os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    with child.marked():
        multiprocessing.get_context("spawn").Process(target=engine).start()
        child.obey()
    signal.pause()
"""


def test_an_engine_leaves_ctrl_c_to_its_client_and_ends_with_it(tmp_path):
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    client = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        words = client.stdout.readline().split()
        assert words[:2] == ["still", "there"]
        # The client itself is no engine: killed, it can do nothing for the one that it started.
        client.kill()
        client.wait(60)
        wait_until(lambda: not runs(int(words[2])))
    finally:
        client.kill()
        client.stdout.close()


def test_other_engines_are_left_alone():
    from ume_r1_rag.backends.vllm.states import child

    before = signal.getsignal(signal.SIGINT)
    with child.marked():
        child.obey()
        assert os.environ["UME_R1_VLLM_CLIENT"] == str(os.getpid())
    child.obey()
    assert "UME_R1_VLLM_CLIENT" not in os.environ
    assert signal.getsignal(signal.SIGINT) is before
