"""Batches made ahead of the step that needs them: by a thread here, or by processes beside this one.

Reading, decoding and rendering are Python, so a thread that does them takes turns with the training loop; processes do
not, and where a GPU computes they are what keeps it fed. Whoever makes them, batches come in the order of the plan: the
processes take turns at it, and each answers in the order in which it was asked. So neither what is learned nor where a
run stands depends on how many there are.

They hear neither Ctrl-C nor SIGTERM, which a terminal or a launcher sends to all of a run: the loop does, finishes its
step, and ends them. When the loop itself is killed they find nobody at the other end, and go.

Used by `training.loop`; knows nothing of what a batch is, but that it may hold tensors.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import torch

from sensorium.errors import SensoriumError

Make = Callable[[Sequence[int]], Any]
AHEAD = 3  # batches waiting for the loop; beside them each process makes one
MOST = 4  # processes beside each that computes on a GPU, unless somebody asks for more
_UNHEARD = (signal.SIGINT, signal.SIGTERM)


def workers_wanted(asked: int | None, device: torch.device, processes: int) -> int:
    """How many worker processes make batches for one process of a run; processes: of the run on this machine.

    Unasked, none where the CPU computes, since its cores are busy already; beside a GPU up to MOST, one core being left
    to each process that computes.
    """
    if asked is not None:
        return asked
    cores = (os.cpu_count() or 1) // processes
    return 0 if device.type == "cpu" else max(1, min(MOST, cores - 1))


@contextmanager
def batches_ahead(make: Make, packs: Iterable[Sequence[int]], workers: int) -> Iterator[Iterator[Any]]:
    """The batches of some packs in their order, made a few ahead. workers: processes; 0: a thread of this one.

    make: picklable where there are workers, and the same wherever it is called. What it raises is raised here, in
    place of the batch; a worker that was killed is a SensoriumError.
    """
    team: list[_Worker] = []
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def prepared() -> Iterator[Any]:
        waiting, rest, turns = deque[Future[Any]](), iter(packs), cycle(team)
        while True:
            for indices in islice(rest, AHEAD + workers - len(waiting)):
                if workers:
                    waiting.append(pool.submit(next(turns).ask(indices)))
                else:
                    waiting.append(pool.submit(make, indices))
            if not waiting:
                return
            yield waiting.popleft().result()

    try:
        for _ in range(workers):
            team.append(_Worker(make))
        yield prepared()
    finally:
        for worker in team:
            worker.end()
        pool.shutdown(cancel_futures=True)


class _Worker:
    """A process that makes batches, and this end of the line to it."""

    def __init__(self, make: Make) -> None:
        self._line, there = _context().Pipe()
        self._process = _context().Process(target=_work, args=(there, make), name="batches", daemon=True)
        with _undisturbed():
            self._process.start()
        there.close()  # so that the line breaks when the process ends

    def ask(self, indices: Sequence[int]) -> Callable[[], Any]:
        """Ask for a batch; returns what waits for it. Answers come in the order of the questions."""
        with suppress(ConnectionError):  # it has ended, and whoever waits for the answer will be told so
            self._line.send(list(indices))
        return self._answer

    def end(self) -> None:
        """It writes nothing, so there is nothing to wait for."""
        self._process.kill()
        self._process.join()
        self._line.close()

    def _answer(self) -> Any:
        try:
            is_batch, answer = pickle.loads(self._line.recv_bytes())
        except (EOFError, ConnectionError):
            self._process.join()
            raise _lost(self._process.exitcode or 0) from None
        if not is_batch:
            raise answer
        return answer


class WorkerKilled(SensoriumError):
    """Met by one process of a run alone, so that it must say so itself."""


def _lost(exit_code: int) -> Exception:
    """What to say of a worker that is gone."""
    if exit_code >= 0:
        return RuntimeError(f"a worker that makes batches failed (exit code {exit_code}); what it said stands above.")
    name = signal.Signals(-exit_code).name
    remedy = "If memory ran out, lower `workers`. Start the run again: it goes on from its last checkpoint."
    return WorkerKilled("workers", f"one of the processes that make batches was killed ({name}).", remedy)


def _work(line: Connection, make: Make) -> None:
    """What a worker does until nobody is at the other end."""
    for number in _UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    with suppress(EOFError, ConnectionError):
        while True:
            indices = line.recv()
            try:
                answer = _pickled((True, make(indices)))
            except SensoriumError as error:
                answer = _pickled((False, error))
            line.send_bytes(answer)


class _Pickler(pickle.Pickler):
    """Tensors travel as NumPy's arrays, which are copied once; torch's own way would take shared memory for each, and
    containers have little of that.
    """

    def reducer_override(self, thing: Any) -> Any:
        return (torch.from_numpy, (thing.numpy(),)) if isinstance(thing, torch.Tensor) else NotImplemented


def _pickled(thing: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(thing)
    return stream.getvalue()


def _context() -> Any:
    """Never forked from this process, whose threads and GPU would not survive it; where there is a server to fork from,
    it imports what workers need once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sensorium.training.batches", "transformers"])
    return context


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started inside is deaf to _UNHEARD from its first moment on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which a server starts first, and which lets the signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
