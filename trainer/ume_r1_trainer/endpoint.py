"""Chat endpoint: the one home for talking to an OpenAI-compatible server, on the ``openai`` package.

The package's own retries are off: they give up on a ``Retry-After`` above a minute, and on a body that is no
JSON at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import queue
import random
import threading
from collections.abc import Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Self
from urllib.parse import urlsplit

from ume_r1_rag.errors import CacheUnavailable, ConfigError, MissingExtra, ServerUnavailable
from ume_r1_trainer.answer_store import AnswerStore
from ume_r1_trainer.chat_answer import KEPT, Answer, Unreadable, Usage, read_answer
from ume_r1_trainer.chat_message import Messages, user_message

__all__ = ["Answer", "ChatEndpoint", "Messages", "Usage", "user_message"]

logger = logging.getLogger(__name__)

_AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may do."""

_FIRST_WAIT_S, _LONGEST_BACKOFF_S = 0.5, 30.0
_LONGEST_WAIT_S = 600.0
"""A server that asks for more patience than this has its request failed, not slept over."""


class ChatEndpoint:
    """A chat model behind an OpenAI-compatible server. Thread-safe; usable inside a running event loop.

    Requests run on an event loop of its own, in a thread that does not keep the process alive.

    Attributes:
        base_url: of the server.
        model: its name there.
        usage: requests, tokens and cost so far.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        cache: Path | None = None,
        timeout_s: float = 120.0,
        retries: int = 5,
        max_tokens: int = 1024,
        price_in: float = 0.0,
        price_out: float = 0.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps the settings; nothing is asked yet.

        Args:
            base_url: up to and with ``/v1``.
            model: its name on the server.
            api_key: by default that of the environment, ``OPENAI_API_KEY``; a local server needs none.
            concurrency: requests under way at the same time.
            cache: a folder for answers. Their key is the model, the messages with the pictures' bytes, and
                the options; not the URL, so that a server may move.
            timeout_s: for one attempt, as a whole.
            retries: attempts after the first, on 408, 409, 425, 429, 5xx, timeouts, broken connections and
                bodies that cannot be read.
            max_tokens: of an answer.
            price_in: per million prompt tokens.
            price_out: per million completion tokens.
            options: further fields of the request, such as ``temperature`` or ``extra_body``.
                ``max_completion_tokens`` takes the place of ``max_tokens``.

        Raises:
            ConfigError: a value that cannot work.
            MissingExtra: ``openai`` is not installed.
            CacheUnavailable: the cache cannot be opened.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{base_url!r} is no server: give a base URL such as http://localhost:8000/v1")
        _check(concurrency=concurrency, timeout_s=timeout_s, max_tokens=max_tokens)
        if retries < 0 or min(price_in, price_out) < 0:
            raise ConfigError(f"retries={retries} and prices {price_in}, {price_out} must not be negative")
        self.base_url, self.model, self.usage = base_url.rstrip("/"), model, Usage()
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._timeout_s, self._retries, self._concurrency = timeout_s, retries, concurrency
        self._prices = price_in / 1e6, price_out / 1e6
        self._options = dict(options or {})
        if "max_completion_tokens" not in self._options:
            self._options["max_tokens"] = max_tokens
        self._lock = threading.Lock()
        self._flying: dict[str, asyncio.Future[Answer]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._client = self._new_client()
        self._store = None if cache is None else AnswerStore(Path(cache))
        self._slots = asyncio.Semaphore(concurrency)

    def ask(self, messages: Messages) -> Answer:
        """Returns the answer to one request; a failure is an answer with ``error``, never an exception."""
        future = self._begin(messages)
        try:
            return future.result()
        finally:
            future.cancel()

    def check(self) -> None:
        """Asks for a word: better now than after hours of other work.

        Raises:
            ServerUnavailable: the model does not answer.
        """
        answer = self.ask([user_message("Reply with yes.")])
        if answer.error is not None:
            raise ServerUnavailable(f"{self.model} at {self.base_url} does not answer: {answer.error}")

    def ask_all(
        self, requests: Iterable[Messages], progress: str | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """Yields ``(number, answer)`` as each finishes; a failure is an answer with ``error``.

        Requests are drawn as they are needed, so that millions may be given by a generator. Leaving the loop
        cancels those under way.

        Args:
            requests: messages of each.
            progress: what a bar on standard error is headed; None for none.
        """
        from tqdm import tqdm

        finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        under_way: dict[int, Future[Answer]] = {}
        numbered = enumerate(requests)
        total = len(requests) if isinstance(requests, Sized) else None
        with tqdm(total=total, desc=progress, unit=" requests", disable=progress is None) as bar:
            try:
                while True:
                    while len(under_way) < 2 * self._concurrency and (drawn := next(numbered, None)):
                        number, messages = drawn
                        under_way[number] = future = self._begin(messages)
                        future.add_done_callback(lambda _, number=number: finished.put(number))  # type: ignore[misc]
                    if not under_way:
                        return
                    number = finished.get()
                    answer = under_way.pop(number).result()
                    bar.set_postfix_str(self.usage.told(), refresh=False)
                    bar.update()
                    yield number, answer
            finally:
                for future in under_way.values():
                    future.cancel()

    def close(self) -> None:
        """Ends what is under way, the connections and the thread; nothing can be asked from then on."""
        with self._lock:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is not None:
            with contextlib.suppress(TimeoutError):  # the thread keeps no process alive
                asyncio.run_coroutine_threadsafe(self._end(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({urlsplit(self.base_url).hostname}, {self.model!r})"

    def _new_client(self) -> Any:
        try:
            from openai import AsyncOpenAI
        except ModuleNotFoundError as error:
            raise MissingExtra(
                'talking to an endpoint needs openai: pip install "ume-r1-rag[train]" or "ume-r1-rag[bench]"'
            ) from error
        return AsyncOpenAI(
            base_url=self.base_url, api_key=self._key, max_retries=0, timeout=self._timeout_s + 1
        )

    def _begin(self, messages: Messages) -> Future[Answer]:
        """Returns a future of the answer, which is done already if the cache has it."""
        key = self._key_of(messages) if self._store is not None else None
        if key is not None and (found := self._kept(key)) is not None:
            self._count(found)
            future: Future[Answer] = Future()
            future.set_result(found)
            return future
        loop = self._running()
        return asyncio.run_coroutine_threadsafe(self._answer(key, messages), loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise ConfigError(f"{self!r} is closed: make another one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="chat endpoint", daemon=True).start()
            return self._loop

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    def _key_of(self, messages: Messages) -> str:
        asked = {"model": self.model, "messages": list(messages), "options": self._options}
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _kept(self, key: str) -> Answer | None:
        try:
            data = None if self._store is None else self._store.get(key)
            return None if data is None else replace(Answer(**data), cached=True, seconds=0.0)
        except CacheUnavailable as error:  # broken under way: asking again is dear, but an answer
            logger.warning("the cache was passed over: %s", error)
        except TypeError:  # of a later version
            pass
        return None

    async def _answer(self, key: str | None, messages: Messages) -> Answer:
        """Returns the answer; one of two requests that are the same waits for the other."""
        while key is not None and (flight := self._flying.get(key)) is not None:
            try:
                shared = await asyncio.shield(flight)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise
                continue  # who asked first has left; somebody must ask
            answer = shared if shared.error else replace(shared, cached=True, seconds=0.0)
            self._count(answer)
            return answer
        flight = asyncio.ensure_future(self._settle(key, messages))
        if key is not None:
            self._flying[key] = flight
            flight.add_done_callback(lambda _: self._flying.pop(key, None))
        return await flight

    async def _settle(self, key: str | None, messages: Messages) -> Answer:
        async with self._slots:
            started = perf_counter()
            answer = await self._try(messages)
        answer = replace(answer, seconds=perf_counter() - started)
        if key is not None and self._store is not None and answer.error is None:
            kept = {name: getattr(answer, name) for name in KEPT}
            try:
                await asyncio.to_thread(self._store.put, key, kept)
            except CacheUnavailable as error:  # a full disk must not lose what was paid for
                logger.warning("an answer was not kept: %s", error)
        self._count(answer)
        return answer

    async def _try(self, messages: Messages) -> Answer:
        """Returns the answer of the first attempt that has one, or of the last failure."""
        for attempt in range(self._retries + 1):
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await self._client.chat.completions.create(
                        model=self.model, messages=list(messages), **self._options
                    )
                return read_answer(reply)
            except Exception as error:  # noqa: BLE001 -- a failure is a value here, whatever httpx calls it
                why, again, asked_s = self._what_failed(error)
            wait_s = asked_s if asked_s is not None else _backoff_s(attempt)
            if not again or attempt == self._retries or wait_s > _LONGEST_WAIT_S:
                break
            logger.debug("attempt %d of %s failed, again in %.1f s: %s", attempt + 1, self.model, wait_s, why)
            with self._lock:
                self.usage.retries += 1
            await asyncio.sleep(wait_s)
        tried = "" if attempt == 0 else f" ({attempt + 1} attempts)"
        return Answer("", error=f"{why}{tried}")

    def _what_failed(self, error: Exception) -> tuple[str, bool, float | None]:
        """Returns what went wrong, whether the same may do later, and the seconds the server asks for."""
        import openai

        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            why = f"status {status}: {self._without_key(str(error.message))[:300]}"
            if status == 404:
                why += f". Is {self.model!r} served there, and does the base URL end in /v1?"
            if status in (401, 403):
                why += ". Set OPENAI_API_KEY, or give another key"
            return why, status in _AGAIN or status >= 500, _asked_for(error.response.headers)
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return f"no answer within {self._timeout_s:g} s", True, None
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ or error
            return f"no connection: {self._without_key(str(cause)) or type(cause).__name__}", True, None
        if isinstance(error, Unreadable | openai.APIResponseValidationError | ValueError):
            return f"the answer cannot be read: {self._without_key(str(error))[:200]}", True, None
        return f"{type(error).__name__}: {self._without_key(str(error))[:200]}", False, None

    def _without_key(self, text: str) -> str:
        return text if self._key == "none" else text.replace(self._key, "***")

    def _count(self, answer: Answer) -> None:
        with self._lock:
            usage = self.usage
            usage.requests += 1
            usage.failures += answer.error is not None
            usage.from_cache += answer.cached
            if not answer.cached:
                usage.prompt_tokens += answer.prompt_tokens
                usage.completion_tokens += answer.completion_tokens
                usage.cost += answer.prompt_tokens * self._prices[0]
                usage.cost += answer.completion_tokens * self._prices[1]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _asked_for(headers: Any) -> float | None:
    """Returns the seconds of ``Retry-After``, which are a number or a date; None without."""
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        given = headers.get("retry-after")
        if given is None:
            return None
        if given.strip().replace(".", "", 1).isdigit():
            return float(given)
        return max(0.0, parsedate_to_datetime(given).timestamp() - time())
    except (ValueError, TypeError):
        return None


def _backoff_s(attempt: int) -> float:
    """Returns a wait that doubles with each attempt, spread so that requests do not come back together."""
    seconds: float = min(_LONGEST_BACKOFF_S, _FIRST_WAIT_S * 2**attempt)
    return seconds * random.uniform(0.75, 1.25)


def _check(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name}={value} must be positive")
