"""The server over the vLLM backend: OpenAI's client, one batch for all, a client that hangs up, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from served import Served, below, chat, data_url, image_part, runs, until, wait_until

from ume_r1_bench.parity_inputs import picture
from ume_r1_rag.errors import BackendError
from ume_r1_rag.server import create_app

pytestmark = pytest.mark.vllm


@pytest.fixture
def steps(vllm_backend, monkeypatch):
    """What each step of the engine gave: an output for every request that it decoded for."""
    engine, found = vllm_backend._way._engine._engine, []
    step = engine.step

    def noted():
        outputs = step()
        found.append(outputs)
        return outputs

    monkeypatch.setattr(engine, "step", noted)
    return found


@pytest.fixture
def url(vllm_encoder):
    with Served(create_app(vllm_encoder)) as served:
        yield served.url


async def test_openais_client_gets_both_vectors(url, nano_encoder):
    inputs = ["a red circle", "two bars"]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for mode in ("disc", "gen"):
            found = await client.embeddings.create(model="nano", input=inputs, extra_body={"mode": mode})
            for ours, other in zip(found.data, nano_encoder.encode(inputs, mode), strict=True):
                np.testing.assert_allclose(np.float32(ours.embedding), other.vector(mode), atol=1e-5)
        messages = chat(image_part(data_url(picture(2))), "what is it?")
        body = {"messages": messages, "mode": "both", "return_reasoning": True}
        answer = (await client.post("/embeddings", cast_to=httpx.Response, body=body)).json()["data"][0]
        assert len(answer["embedding"]) == len(answer["gen"]) == nano_encoder.dimension
        assert answer["completion_ids"]
        assert answer["gen_valid"] in (True, False)


async def test_concurrent_requests_are_one_batch_of_the_engine(url, steps):
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.post("/v1/embeddings", json={"input": f"a red circle {number}", "mode": "gen"})
                for number in range(16)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    # The engine takes 32 at a time; on slow cores some come late, or are done before the last.
    assert max(map(len, steps)) >= 8


async def test_a_client_that_hangs_up_frees_its_slots(url, steps, vllm_backend):
    texts = [f"number {number}" for number in range(200)]
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        task = asyncio.create_task(client.post("/v1/embeddings", json={"input": texts, "mode": "gen"}))
        await until(lambda: any(steps))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine = vllm_backend._way._engine._engine
        await until(lambda: not vllm_backend._way._tasks and not engine.has_unfinished_requests())
        assert sum(output.finished for outputs in steps for output in outputs) < len(texts)
        assert (await client.post("/v1/embeddings", json={"input": "next"})).status_code == 200


async def test_a_dead_engine_is_told_and_health_says_so(url, vllm_backend):
    engine = vllm_backend._way._engine
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        assert (await client.get("/health")).status_code == 200
        engine.error = BackendError("the vLLM engine died (of a test)")
        try:
            answer = await client.post("/v1/embeddings", json={"input": "a red circle"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "BackendError")
            assert "engine died" in answer.json()["error"]["message"]
            assert (await client.get("/health")).status_code == 503
        finally:
            engine.error = None
        assert (await client.get("/health")).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_server_with_vllms_own_processes_answers_and_ends_them(tmp_path, stop):
    """Ctrl-C reaches all processes of a terminal; what is under way is answered all the same."""
    engine = ["in_process=false", "way=one-engine", "enforce_eager=true", f"kv_cache_memory_bytes={2**27}"]
    command = [
        sys.executable,
        "-c",
        "from ume_r1_rag.cli import main; main()",
        "serve",
        "nano",
        "--port",
        "0",
        "--grace",  # a machine that does much besides takes longer than the default
        "300",
    ]
    command += ["--backend", "vllm", *(part for option in engine for part in ("--engine", option))]
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: server.poll() is not None or "serving nano" in log.read_text(), 600)
        assert server.poll() is None, log.read_text()
        url = next(word for word in log.read_text().split() if word.startswith("http://127.0.0.1:"))
        processes = below(server.pid)
        assert any("VLLM" in name for name in processes.values())
        body = {"input": [f"number {number}" for number in range(256)], "mode": "gen"}
        with httpx.Client(base_url=url, timeout=300) as client, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.post, "/v1/embeddings", json=body)
            wait_until(lambda: answer.done() or "ume_r1_queue 0.0" not in httpx.get(f"{url}/metrics").text)
            if stop == signal.SIGINT:
                os.killpg(server.pid, stop)
            else:
                server.send_signal(stop)
            assert answer.result(300).status_code == 200, answer.result().text
            assert len(answer.result().json()["data"]) == 256
        assert server.wait(300) == 0
        wait_until(lambda: not any(runs(pid) for pid in processes))
    finally:
        server.kill()
        server.wait(60)
