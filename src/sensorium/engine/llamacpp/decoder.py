"""One llama.cpp context in which several replies grow at once.

A thread of its own owns the context. Each of its steps runs one token of every reply that is being written, and as much
of the prompts that are not read yet as keeps the step short, the shortest first, so that a long prompt does not stop
the others. What was read stays, see `slots`: so the second question about a picture reads a few words, and the next
turn of a chat only what is new.
"""

from __future__ import annotations

import ctypes as c
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any

import numpy as np

from sensorium.engine.llamacpp.batch import BatchMemory
from sensorium.engine.llamacpp.library import Batch, ContextAt, library
from sensorium.engine.llamacpp.prompt import Array, Prompt
from sensorium.engine.llamacpp.slots import WORTH_COPYING, Slot, Slots
from sensorium.engine.llamacpp.threads import threads_for_one_token
from sensorium.engine.sampler import Chosen
from sensorium.errors import SensoriumError

BATCH = 512  # tokens in one step; llama.cpp ends the process when it is given more
BESIDE = 128  # tokens of prompts in a step that somebody else waits for
# Replies of which each has its next token read alone: llama.cpp's kernels take longer for a few tokens at once than one
# by one. Measured at Q8_0 with AVX2, milliseconds of one core for 1, 2, 3, 4, 8 tokens: 8, 30, 38, 36, 33. And what is
# read alone is rounded alike in any company.
FEW = 4
Choose = Callable[[Array, list[int]], Chosen]
_REMEDY = "Export the model again, or use the torch engine."


@dataclass(eq=False)
class Job:
    """A reply to be written, or, with `tails`, continuations of the prompt to be scored.

    choose: from logits [vocabulary] and the ids said so far to the next token; never: an id that is not one of them.
    """

    prompt: Prompt
    choose: Choose | None = None
    max_new_tokens: int = 0
    stop_ids: frozenset[int] = frozenset()
    never: int | None = None
    tails: tuple[tuple[int, ...], ...] = ()
    cached: int = 0  # positions that did not have to be read
    cancelled: bool = False
    said: list[int] = field(default_factory=list)
    log_p: Array | None = None  # of the first token after the prompt, where tails are scored
    scores: list[float] = field(default_factory=list)
    results: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    slot: Slot | None = None

    @property
    def unread(self) -> int:
        """The first position of the prompt that is not in the slot's trail."""
        assert self.slot is not None
        return min(len(self.slot.trail), len(self.prompt))

    @property
    def is_reading(self) -> bool:
        return not self.said and self.log_p is None


class Decoder:
    """path: a text GGUF file; context_length: positions of one reply with its prompt; slots: replies at once.

    shelf_mb: of what was read and is in no slot any more.
    Raises SensoriumError when llama.cpp cannot load the file or has not the memory.
    """

    def __init__(self, path: Path, context_length: int, slots: int, threads: int, shelf_mb: float = 0) -> None:
        self._library = lib = library()
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.model:
            raise SensoriumError(path, f"cannot be loaded by llama.cpp ({lib.last_errors()}).", _REMEDY)
        parameters = lib.llama_context_default_params()
        at = ContextAt
        settings = {at.N_CTX: context_length * slots, at.N_BATCH: BATCH, at.N_UBATCH: BATCH, at.N_SEQ_MAX: slots,
                    at.N_THREADS: threads_for_one_token(threads, path.stat().st_size / 1e6),
                    at.N_THREADS_BATCH: threads}
        for offset, value in settings.items():
            parameters.write(offset, value)
        # Each slot has cells of its own, and they lie in the order of positions: where they were mixed, sums would be
        # rounded in another order from one time to the next, and a seed would not give its reply again even to those
        # who ask alone. (Replies that are written together round otherwise than apart; that is llama.cpp's way.)
        parameters.write(at.KV_UNIFIED, 0, c.c_uint8)
        self._context = lib.llama_init_from_model(self.model, parameters)
        if not self._context:
            lib.llama_model_free(self.model)
            raise SensoriumError(path, f"llama.cpp cannot make room for {slots} replies of {context_length} tokens "
                                       f"({lib.last_errors()}).", "Ask for fewer slots.")
        self.width = lib.llama_model_n_embd(self.model)
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self._row = c.c_float * self.vocabulary
        self._batch = BatchMemory(BATCH, slots)
        self._slots = Slots(self._context, slots, shelf_mb)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._is_closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._work, name="llama.cpp", daemon=True)
        self._thread.start()

    def reply(self, job: Job) -> Iterator[Chosen]:
        """The job's tokens as they come, the one that stops it too. Closing the iterator ends the job.

        job.cached is set when the first token is there. Raises RuntimeError when llama.cpp fails.
        """
        self._enter(job)
        try:
            while (chosen := self._result(job)) is not None:
                yield chosen
        finally:
            job.cancelled = True

    def score(self, job: Job) -> list[float]:
        """log P of each of job.tails after the prompt, summed over its tokens."""
        self._enter(job)
        return self._result(job)  # type: ignore[no-any-return]

    def load(self) -> tuple[int, int]:
        """Replies being written, and replies waiting for a slot."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def close(self) -> None:
        """End what runs and give the memory back; once is enough."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        self._library.llama_free(self._context)
        self._library.llama_model_free(self.model)

    def _enter(self, job: Job) -> None:
        with self._changed:
            if self._is_closed:
                raise RuntimeError("the engine is closed.")
            self._waiting.append(job)
            self._changed.notify()

    @staticmethod
    def _result(job: Job) -> Any:
        result = job.results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _work(self) -> None:
        """The thread: until closed, let waiting jobs in and take a step."""
        while True:
            try:
                with self._changed:
                    while not (self._waiting or self._running or self._is_closed):
                        self._changed.wait()
                    if self._is_closed:
                        break
                    self._let_in()
                self._step()
            except Exception as error:  # noqa: BLE001 (whoever waits for a reply must hear of it, whatever it is)
                self._fail(error)
        self._fail(RuntimeError("the engine was closed."))

    def _fail(self, error: Exception) -> None:
        """Tell everybody whose reply is lost: those that run, and at the end those that wait. Slots are emptied."""
        with self._changed:
            lost = [*self._running, *(self._waiting if self._is_closed else ())]
            self._running.clear()
            if self._is_closed:
                self._waiting.clear()
        for job in lost:
            job.results.put(error)
        self._slots.clear()

    def _let_in(self) -> None:
        """Seat jobs that wait, but those whose beginning another is just reading: they go on from there in a moment."""
        for job in list(self._waiting):
            if job.cancelled:
                self._waiting.remove(job)
            elif not self._slots.all_busy and not self._is_being_read(job.prompt):
                self._waiting.remove(job)
                self._running.append(job)
                job.slot = self._slots.take(job.prompt)
                job.cached = len(job.slot.trail)

    def _is_being_read(self, prompt: Prompt) -> bool:
        coming = max((prompt.shared(job.prompt.keys) for job in self._running if job.is_reading), default=0)
        return coming >= WORTH_COPYING and coming - self._slots.known(prompt) >= WORTH_COPYING

    def _leave(self, job: Job, last: Any) -> None:
        assert job.slot is not None
        self._slots.leave(job.slot)
        self._running.remove(job)
        job.results.put(last)

    def _step(self) -> None:
        """A token of every reply that is being written, and a stretch of the prompts that are not read yet."""
        for job in [job for job in self._running if job.cancelled]:
            self._leave(job, None)
        reading = sorted((job for job in self._running if job.is_reading), key=lambda job: len(job.prompt) - job.unread)
        rows = [(job, [job.said[-1]], True) for job in self._running if job.said]
        room = BATCH if len(self._running) == 1 else BESIDE
        for job in reading:
            room -= self._read_pictures(job)
            start, last = job.unread, len(job.prompt) - 1
            # The last token alone, as it is read when all before it was remembered: many at once round otherwise, and
            # the same question would not get the same reply again.
            end = min(job.prompt.text_end(start), start + room, last) if start < last else start + 1
            if room > 0 and end > start:
                rows.append((job, list(job.prompt.keys[start:end]), start == last))  # type: ignore[arg-type]
                room -= end - start
        for together in [[row] for row in rows] if sum(len(ids) for _, ids, _ in rows) <= FEW else [rows]:
            self._read(together)
        for job in [job for job in self._running if job.log_p is not None]:
            self._score(job)

    def _read(self, rows: Sequence[tuple[Job, list[int], bool]]) -> None:
        """Read some ids for each of some jobs, in one batch, and go on from the logits of those whose last they are."""
        if rows:
            self._decode_text([(job.slot, ids, int(is_last)) for job, ids, is_last in rows])  # type: ignore[misc]
        place = -1
        for job, ids, is_last in rows:
            place += len(ids)
            if is_last and job.tails:
                job.log_p = _log_softmax(self._logits(place, job))
            elif is_last:
                self._say(job, self._logits(place, job))

    def _say(self, job: Job, logits: Array) -> None:
        assert job.choose is not None
        try:
            chosen = job.choose(logits, job.said)
        except Exception as error:  # noqa: BLE001 (it is this reply's alone)
            self._leave(job, error)
            return
        job.said.append(chosen.id)
        job.results.put(chosen)
        if chosen.is_last or chosen.id in job.stop_ids or len(job.said) == job.max_new_tokens:
            self._leave(job, None)

    def _score(self, job: Job) -> None:
        """Read the next tail after the prompt, then forget it; its first token's logits are the prompt's last."""
        assert job.slot is not None and job.log_p is not None
        tail = job.tails[len(job.scores)]
        score = float(job.log_p[tail[0]])
        for start in range(0, len(tail) - 1, BATCH):
            ids = tail[:-1][start : start + BATCH]
            self._decode_text([(job.slot, list(ids), len(ids))])
            for i in range(len(ids)):
                score += float(_log_softmax(self._logits(i, job))[tail[start + i + 1]])
        self._slots.forget(job.slot, len(job.prompt))
        job.scores.append(score)
        if len(job.scores) == len(job.tails):
            self._leave(job, job.scores)

    def _read_pictures(self, job: Job) -> int:
        """Read the pictures that stand where the job's reading is; returns how many tokens they were.

        Vectors and ids do not mix in one batch.
        """
        assert job.slot is not None
        begun = job.unread
        while (vectors := job.prompt.pictures.get(job.unread)) is not None:
            start = job.unread
            for at in range(0, len(vectors), BATCH):
                part = np.ascontiguousarray(vectors[at : at + BATCH], dtype=np.float32)
                self._batch.clear()
                self._batch.add(job.slot.number, start + at, None, len(part), 0)
                self._decode(self._batch.whole(part))
            job.slot.trail.extend(job.prompt.keys[start : start + len(vectors)])
        return job.unread - begun

    def _decode_text(self, rows: Sequence[tuple[Slot, list[int], int]]) -> None:
        """Read ids after each slot's trail; logits are wanted of the last so many."""
        self._batch.clear()
        for slot, ids, n_wanted in rows:
            self._batch.add(slot.number, len(slot.trail), ids, len(ids), n_wanted)
        self._decode(self._batch.whole())
        for slot, ids, _ in rows:
            slot.trail.extend(ids)

    def _decode(self, batch: Batch) -> None:
        assert batch.n_tokens <= BATCH
        if status := self._library.llama_decode(self._context, batch):
            raise RuntimeError(f"llama.cpp could not go on (status {status}): {self._library.last_errors()}")

    def _logits(self, place: int, job: Job) -> Array:
        """Logits [vocabulary] of a token of the last batch; they stand in llama.cpp's memory until the next."""
        row = self._row.from_address(self._library.llama_get_logits_ith(self._context, place))
        logits = np.frombuffer(row, np.float32)
        if job.never is not None:
            logits[job.never] = -np.inf
        return logits


def _log_softmax(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
