"""What a server counts, for Prometheus."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sensorium.engine import Delta, Reply
from sensorium.errors import SensoriumError
from sensorium.serving.errors import ApiError
from sensorium.serving.queue import FairQueue

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server, in a registry of their own, so that several servers in a process stay apart."""

    def __init__(self, queue: FairQueue) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("sensorium_requests", "Requests by how they ended.", ["status"], registry=registry)
        self.tokens = Counter("sensorium_tokens", "Tokens by kind.", ["kind"], registry=registry)
        self.first_token = Histogram(
            "sensorium_first_token_seconds", "From the request to its first words.", buckets=_SECONDS, registry=registry
        )
        self.reply = Histogram(
            "sensorium_reply_seconds", "From the request to its end.", buckets=_SECONDS, registry=registry
        )
        Gauge("sensorium_running", "Requests being answered.", registry=registry).set_function(lambda: queue.running)
        Gauge("sensorium_waiting", "Requests waiting.", registry=registry).set_function(lambda: queue.waiting)

    async def timed(self, deltas: AsyncIterator[Delta], begun: float) -> AsyncIterator[Delta]:
        """The deltas of a reply as they come, their times counted since `begun`, of `time.perf_counter`."""
        is_first = True
        async for delta in deltas:
            if is_first:
                self.first_token.observe(time.perf_counter() - begun)
                is_first = False
            yield delta
        self.reply.observe(time.perf_counter() - begun)

    def answered(self, last: Delta | Reply) -> None:
        """Count a request whose reply has come to its end."""
        self.requests.labels("answered").inc()
        for kind, n in (("prompt", last.n_prompt), ("cached", last.n_cached), ("reply", last.n_tokens)):
            self.tokens.labels(kind).inc(n)

    def broken_off(self, error: BaseException) -> None:
        """Count a request without a whole reply: its caller left, or can mend it, or cannot."""
        if isinstance(error, CancelledError | GeneratorExit):
            status = "left"
        elif isinstance(error, SensoriumError) or (isinstance(error, ApiError) and error.status < 500):
            status = "refused"
        else:
            status = "failed"
        self.requests.labels(status).inc()
