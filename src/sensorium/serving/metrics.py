"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
