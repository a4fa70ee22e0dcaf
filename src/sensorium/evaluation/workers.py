"""Several engines that answer one run: actors of Ray, on this machine or on a cluster.

Every worker holds an engine of its own; the process that began the run deals out batches, one to each worker that is
free, and alone writes replies. Pictures travel with the questions when the workers are on other machines, so that these
need no copy of the data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sensorium.conversation import Conversation, Medium, Part, Video
from sensorium.engine.base import Card, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here, Job, Said, ask_together
from sensorium.media.video import VideoLimits


class Worker:
    """What runs in an actor. options: of `load_engine`, which is called when the engine is first needed: an error then
    comes out as it is, and not as the death of the actor. limits: as of `Here`."""

    def __init__(self, options: dict[str, Any], limits: VideoLimits | None) -> None:
        self._options, self._limits = options, limits

    @cached_property
    def here(self) -> Here:
        from sensorium.engine.loading import load_engine

        return Here(load_engine(**self._options), self._limits)

    def card(self) -> Card:
        return self.here.card

    def times_s(self, video: Video) -> tuple[float, ...]:
        return self.here.times_s(video)

    def ask(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Said]:
        return ask_together(self.here.engine, conversations, sampling)


class RayWorkers:
    """count: workers; options: of `load_engine`, the same for all; address: of a cluster, None for this machine alone;
    limits: as of `Here`.

    Raises SensoriumError when Ray is not installed or cannot be reached, or a worker cannot load the engine.
    """

    def __init__(
        self, count: int, options: dict[str, Any], address: str | None = None, limits: VideoLimits | None = None
    ) -> None:
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
            import ray
        except ImportError as error:
            remedy = "pip install 'sensorium[ray]'"
            raise SensoriumError("--workers", "several workers need the `ray` library.", remedy) from error
        self._ray, self._travels = ray, address is not None
        self._is_ours = not ray.is_initialized()
        try:
            if self._is_ours:
                kept: dict[str, Any] = {"num_cpus": max(count, os.cpu_count() or 1)} if address is None else {}
                ray.init(address=address or "local", include_dashboard=None if address else False, log_to_driver=False,
                         logging_level=logging.ERROR, **kept)  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SensoriumError(address or "ray", f"cannot be reached ({error}).", "Check --ray-address.") from error
        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= count else 0
        actor: Any = ray.remote(num_cpus=1, num_gpus=gpus)(Worker)
        self._workers: list[Any] = [actor.remote(options, limits) for _ in range(count)]
        self._free = list(self._workers)
        try:
            self.card: Card = self._result(self._workers[0].card.remote())
        except (SensoriumError, RuntimeError):
            self.close()
            raise

    def times_s(self, video: Video) -> tuple[float, ...]:
        """By the worker that gets the next job, which then need not decode the video again to answer."""
        found: tuple[float, ...] = self._result(self._free[-1].times_s.remote(self._sent(video)))
        return found

    def ask(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Said]]]:
        """Jobs in the order in which they are done; a worker gets its next one when it has finished the last."""
        waiting = iter(jobs)
        free = self._free = list(self._workers)
        running: dict[Any, tuple[Job, Any]] = {}
        while True:
            while free and (job := next(waiting, None)) is not None:
                if not job.conversations:
                    yield job, []
                    continue
                worker = free.pop()
                sent = [self._sent_all(one) for one in job.conversations]
                running[worker.ask.remote(sent, job.sampling)] = (job, worker)
            if not running:
                return
            [done], _ = self._ray.wait(list(running), num_returns=1)
            job, worker = running.pop(done)
            said = self._result(done)
            free.append(worker)
            yield job, said

    def close(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        if self._is_ours:
            self._ray.shutdown()

    def _sent_all(self, conversation: Conversation) -> Conversation:
        return Conversation(tuple(
            replace(message, parts=tuple(map(self._sent, message.parts))) for message in conversation
        ))  # fmt: skip

    def _sent(self, part: Part) -> Any:
        return _with_bytes(part) if self._travels else part

    def _result(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, SensoriumError):
                raise error.cause from None
            raise RuntimeError(f"in a worker: {error.cause!r}") from error
        except errors.RayActorError as error:
            raise RuntimeError(f"a worker died: {str(error).strip().splitlines()[0]}") from error


def _with_bytes(part: Part) -> Part:
    """The same part with its media in it instead of their paths."""
    if not isinstance(part, Medium):
        return part
    read = replace(part, source=_bytes_of(part.source))
    return replace(read, subtitles=_bytes_of(read.subtitles)) if isinstance(read, Video) and read.subtitles else read


def _bytes_of(source: str | bytes) -> str | bytes:
    return Path(source).read_bytes() if isinstance(source, str) and not source.startswith("data:") else source
