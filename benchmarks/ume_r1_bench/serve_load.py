"""``ume-r1 bench serve``: how fast a server answers 1, 8 and 64 clients, over loopback.

The server runs in a process of its own, the clients share one; each client sends its next text as soon as it
has the answer to the last. Beside it stands the encoder alone, in batches, without HTTP. Figures are of the
machine that printed them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import numpy as np

from ume_r1_rag.errors import ServerUnavailable

if TYPE_CHECKING:
    from ume_r1_rag import UmeR1Encoder
    from ume_r1_rag.backends.choice import BackendName
    from ume_r1_rag.types import Mode

CLIENTS: Final = (1, 8, 64)
_START_S = 1800.0
_WORDS = "red blue green circle square bar north south east west two three left right small large".split()


@dataclass(frozen=True, slots=True)
class Load:
    """What some clients met.

    Attributes:
        mode: disc or gen.
        clients: at a time; 0 is the encoder without a server, whose latency is a batch's.
        answers: with vectors, within the time.
        refused: answers that were none.
        per_s: answers a second.
        tokens_per_s: generated tokens a second.
        p50_ms: of the time to an answer; likewise the others.
    """

    mode: str
    clients: int
    answers: int
    refused: int
    per_s: float
    tokens_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Served:
    """What is measured.

    Attributes:
        model: nano, a folder or a hub id.
        backend: what runs it.
        vllm: how vLLM runs, if it does.
        max_new_tokens: of a generation; None for the preset's.
    """

    model: str = "nano"
    backend: BackendName = "auto"
    vllm: Mapping[str, Any] | None = None
    max_new_tokens: int | None = None

    def encoder(self) -> UmeR1Encoder:
        """Returns the encoder, loaded."""
        from ume_r1_rag import UmeR1Encoder

        return UmeR1Encoder(
            self.model, backend=self.backend, vllm=self.vllm, max_new_tokens=self.max_new_tokens
        )


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was measured, and on what.

    Attributes:
        about: model, backend, cores, load before and after, and when.
        loads: a line of the table each.
    """

    about: Mapping[str, Any]
    loads: tuple[Load, ...]

    def table(self) -> str:
        """Returns the figures as text."""
        return "\n".join(
            (table(self.loads), ", ".join(f"{name} {value}" for name, value in self.about.items()))
        )

    def to_json(self) -> str:
        """Returns the figures as JSON."""
        return json.dumps({**self.about, "loads": [asdict(one) for one in self.loads]}, indent=2)


def run_load(
    served: Served | None = None,
    seconds: float = 10.0,
    clients: Sequence[int] = CLIENTS,
    modes: Sequence[Mode] = ("disc", "gen"),
    out: Path | None = None,
) -> LoadReport:
    """Measures a server, each number of clients for some seconds and until what they sent is answered.

    Args:
        served: what is measured.
        seconds: for each line of the table.
        clients: numbers of them.
        modes: disc, gen or both.
        out: where the figures go as JSON.

    Raises:
        ServerUnavailable: the server did not come up.
    """
    served = served or Served()
    found, before = [], os.getloadavg()[0]
    with _serving(served) as url:
        for mode in modes:
            asyncio.run(_press(url, mode, min(clients), min(seconds, 2.0)))  # warms up
            found += [asyncio.run(_press(url, mode, number, seconds)) for number in clients]
    found += _alone(served, seconds, modes)
    about = {
        "model": served.model,
        "backend": served.backend,
        "cpus": os.cpu_count(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    report = LoadReport(about, tuple(found))
    if out is not None:
        out.write_text(report.to_json(), encoding="utf-8")
    return report


def table(found: Sequence[Load]) -> str:
    """Returns the figures as text, without what they were measured on."""
    lines = [
        (
            f"{'mode':<5} {'clients':>12} {'answers/s':>10} {'gen tok/s':>10} "
            f"{'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'refused':>8}"
        )
    ]
    for one in found:
        who = str(one.clients or "no server")
        lines.append(
            f"{one.mode:<5} {who:>12} {one.per_s:>10.1f} {one.tokens_per_s:>10.0f} {one.p50_ms:>9.1f} "
            f"{one.p95_ms:>9.1f} {one.p99_ms:>9.1f} {one.refused:>8}"
        )
    return "\n".join(lines)


async def _press(url: str, mode: str, clients: int, seconds: float) -> Load:
    times: list[float] = []
    tokens = refused = 0
    texts = _texts(clients)

    async with httpx.AsyncClient(
        base_url=url, timeout=600.0, limits=httpx.Limits(max_connections=clients)
    ) as client:

        async def one() -> None:
            nonlocal tokens, refused
            going = True
            while going:
                body = {"input": next(texts), "mode": mode, "encoding_format": "base64"}
                started = time.perf_counter()
                answer = await client.post("/v1/embeddings", json=body)
                if answer.status_code == 200:
                    times.append(time.perf_counter() - started)
                    tokens += answer.json()["usage"]["completion_tokens"]
                else:
                    refused += 1
                going = time.perf_counter() - began < seconds

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        # All answers over all the time: what is still under way at the end would flatter otherwise.
        spent = time.perf_counter() - began
    return _load(mode, clients, times, refused, tokens, spent, len(times))


def _alone(served: Served, seconds: float, modes: Sequence[Mode]) -> list[Load]:
    """Returns what the encoder does by itself, in batches of 32."""
    found, texts = [], _texts(0)
    with served.encoder() as encoder:
        for mode in modes:
            encoder.encode(["warm"] * 2, mode)
            times: list[float] = []
            tokens, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                began = time.perf_counter()
                done = encoder.encode([next(texts) for _ in range(32)], mode)
                tokens += sum(one.tokens.completion for one in done)
                times.append(time.perf_counter() - began)
            spent = time.perf_counter() - started
            found.append(_load(mode, 0, times, 0, tokens, spent, 32 * len(times)))
    return found


def _load(
    mode: str, clients: int, times: list[float], refused: int, tokens: int, spent: float, answers: int
) -> Load:
    marks = np.percentile(times or [float("nan")], (50, 95, 99)) * 1000
    p50, p95, p99 = (round(float(mark), 1) for mark in marks)
    rates = round(answers / spent, 2), round(tokens / spent, 1)
    return Load(mode, clients, answers, refused, *rates, p50, p95, p99)


def _texts(seed: int) -> Iterator[str]:
    """Yields texts of some words, none twice."""
    chosen = np.random.default_rng(seed)
    for number in itertools.count():
        words = chosen.choice(_WORDS, int(chosen.integers(3, 12)))
        yield f"{' '.join(words)} {number}"


@contextmanager
def _serving(served: Served) -> Iterator[str]:
    """Yields the address of a server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(served, port))
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(url):
            if not process.is_alive() or time.monotonic() > deadline:
                raise ServerUnavailable(f"the server at {url} did not come up: see its messages above")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.join(30)
        if process.is_alive():
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def _serve(served: Served, port: int) -> None:
    import uvicorn

    from ume_r1_rag.server import create_app

    # uvicorn lets answers finish and then raises the signal again; the encoder is to be closed after that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with served.encoder() as encoder:
        uvicorn.run(create_app(encoder), host="127.0.0.1", port=port, log_level="warning")
