"""What a server counts, for Prometheus. Nothing of a request's content is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from ume_r1_rag.server.limits import Queue
    from ume_r1_rag.types import Embedding

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_CUT = ("token limit", "repetition")


class Metrics:
    """Counters of one server; several in a process do not meet."""

    def __init__(self, queue: Queue) -> None:
        """Makes them, all at zero."""
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"ume_r1_{name}", what, labels, registry=self._registry)

        self._requests = counter("requests", "Requests answered.", "route", "status")
        self._seconds = Histogram(
            "ume_r1_request_seconds",
            "Time to an answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = counter("tokens", "Tokens: visual ones are among the prompts'.", "kind")
        self._truncations = counter("truncations", "Generations cut off at the token limit or in a loop.")
        self._invalid = counter("invalid_generations", "Generations without the right format.", "issue")
        self._missed = counter("deadline_misses", "Answers in disc because gen was not ready.", "route")
        Gauge("ume_r1_queue", "Units of work accepted and not done.", registry=self._registry).set_function(
            lambda: queue.used
        )
        Gauge("ume_r1_queue_capacity", "Units accepted at most.", registry=self._registry).set(queue.capacity)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def embedded(self, one: Embedding) -> None:
        """Counts what an embedding cost and whether its generation was sound."""
        for kind in ("prompt", "visual", "completion"):
            self._tokens.labels(kind).inc(getattr(one.tokens, kind))
        if one.gen_valid is False:
            self._invalid.labels(one.gen_issue or "unknown").inc()
            if one.gen_issue in _CUT:
                self._truncations.inc()

    def missed(self, route: str) -> None:
        """Counts a deadline that gen did not keep."""
        self._missed.labels(route).inc()

    def text(self) -> bytes:
        """Returns all in Prometheus's text format."""
        return generate_latest(self._registry)
