"""A run: every question of a benchmark asked once (or K times), its replies on the disk before anything is scored.

`run` is the whole of it. Questions about one picture are asked together, so that engines share its work; batches are
the same however many workers there are and wherever a run was interrupted, so that replies are the same as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sensorium.engine.base import Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Asker, EngineDied, Job, Refusal, Said
from sensorium.evaluation.benchmarks.base import Answer, Question, TimesOf
from sensorium.evaluation.response_cache import ResponseCache, request_key
from sensorium.evaluation.run_folder import RunFolder
from sensorium.progress import ProgressCallback

BATCH = 64  # questions asked together; the pictures of so many are held in memory at once

# What engines die of: torch's and llama.cpp's own failures, a server that vanished, memory. Other errors are ours.
_DEATHS = (RuntimeError, OSError, EOFError, MemoryError)


@dataclass(frozen=True)
class Finished:
    """answers: in the order of the questions, and of repeats within one. unasked: question -> why it has no reply."""

    answers: list[Answer]
    unasked: Mapping[str, str]


def run(
    questions: Sequence[Question],
    asker: Asker,
    folder: RunFolder,
    identity: str,
    sampling: Sampling,
    repeats: int = 1,
    cache: ResponseCache | None = None,
    batch_size: int = BATCH,
    progress: ProgressCallback | None = None,
    about: Mapping[str, Any] | None = None,
) -> Finished:
    """Ask what the folder does not hold yet.

    identity: whose replies the cache may give. Of several repeats, each has the next seed. about: what else the header
    of the replies says. Raises SensoriumError for a question that is there twice, when the engine dies (what was
    answered is kept), and when nothing could be asked.
    """
    _check_ids(questions)
    unasked: dict[str, str] = {}
    tell = progress or (lambda what, done, total: None)
    total = len(questions) * repeats
    tell("asking", len(folder.known), total)
    jobs = _jobs(questions, asker.times_s, folder, identity, sampling, repeats, cache, batch_size, unasked)
    try:
        for job, said in asker.ask(jobs):
            replies = _gathered(job, said, unasked)
            if replies:
                folder.add([_answer(job, i, reply) for i, reply in sorted(replies.items())])
            if cache is not None:
                cache.keep({job.keys[i]: reply for i, reply in replies.items() if i not in job.known})
            tell("asking", min(len(folder.known), total), total)
    except EngineDied as error:
        raise SensoriumError(error.where, error.what, f"{error.remedy} {_kept(folder, total)}".strip()) from error
    except _DEATHS as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise SensoriumError(asker.card.name, f"the engine died ({reason}).", _kept(folder, total)) from error
    order = [(question.id, repeat) for question in questions for repeat in range(repeats)]
    if not any(key in folder.known for key in order):
        name, why = next(iter(unasked.items()), ("the data", "it holds no questions."))
        raise SensoriumError(name, f"could not be asked, nor could any of the {len(questions)} questions: {why}")
    header = {**(about or {}), "planned": len(questions), "repeats": repeats, "unasked": unasked}
    return Finished(folder.finish(order, header), unasked)


def _kept(folder: RunFolder, total: int) -> str:
    return f"{len(folder.known)} of {total} replies are kept; the same command goes on from there."


def limited(questions: Iterable[Question], limit: int | None) -> list[Question]:
    """The questions about the first `limit` pictures of each task."""
    if limit is None:
        return list(questions)
    pictures: dict[str, set[str]] = {}
    kept = []
    for question in questions:
        seen = pictures.setdefault(question.task, set())
        if question.cluster in seen or len(seen) < limit:
            seen.add(question.cluster)
            kept.append(question)
    return kept


def batches(questions: Iterable[Question], size: int = BATCH) -> list[list[Question]]:
    """Questions about one picture stay together; a batch has `size` questions, or one picture's if those are more."""
    pictures: dict[str, list[Question]] = {}
    for question in questions:
        pictures.setdefault(question.cluster, []).append(question)
    found: list[list[Question]] = [[]]
    for together in pictures.values():
        if found[-1] and len(found[-1]) + len(together) > size:
            found.append([])
        found[-1] += together
    return [batch for batch in found if batch]


def _jobs(
    questions: Sequence[Question], times_of: TimesOf, folder: RunFolder, identity: str, sampling: Sampling,
    repeats: int, cache: ResponseCache | None, batch_size: int, unasked: dict[str, str],
) -> Iterator[Job]:  # fmt: skip
    """What is still to be asked. A batch of which anything is missing is asked as it was planned, but for what an
    earlier run of another plan has answered."""
    for batch in batches(questions, batch_size):
        for repeat in range(repeats):
            missing = [question for question in batch if (question.id, repeat) not in folder.known]
            if missing:
                job = Job([], repeat, replace(sampling, seed=sampling.seed + repeat))
                _prepare(job, missing, times_of, identity, cache, unasked)
                yield job


def _prepare(
    job: Job, questions: Sequence[Question], times_of: TimesOf, identity: str, cache: ResponseCache | None,
    unasked: dict[str, str],
) -> None:  # fmt: skip
    """Fetch the media, look into the cache."""
    conversations, asked = [], []
    for question in questions:
        try:
            conversation = question.conversation(times_of)
            media = [part for message in conversation for part in message.parts if hasattr(part, "digest")]
            job.media.append(tuple(medium.digest for medium in media))
        except SensoriumError as error:
            unasked[question.id] = str(error)
            continue
        conversations.append(conversation)
        asked.append(question)
    job.questions = asked
    if cache is not None:
        job.keys = [request_key(conversation, identity, job.sampling) for conversation in conversations]
        known = cache.find(job.keys)
        job.known = {i: known[key] for i, key in enumerate(job.keys) if key in known}
    job.open_numbers = [i for i in range(len(asked)) if i not in job.known]
    job.conversations = [conversations[i] for i in job.open_numbers]


def _gathered(job: Job, said: Sequence[Said], unasked: dict[str, str]) -> dict[int, Reply]:
    """Number of a question -> its reply, from the cache or said now; refusals are noted."""
    replies = dict(job.known)
    for i, one in zip(job.open_numbers, said, strict=True):
        if isinstance(one, Refusal):
            unasked[job.questions[i].id] = one.why
        else:
            replies[i] = one
    return replies


def _answer(job: Job, i: int, reply: Reply) -> Answer:
    question = job.questions[i]
    return Answer(question.id, question.cluster, question.task, question.text, question.truth, reply.text, job.repeat,
                  reply.finish, reply.n_tokens, job.media[i], reply.n_prompt)  # fmt: skip


def _check_ids(questions: Iterable[Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        if question.id in seen:
            what = f"question {question.id!r} was there before, in {seen[question.id]}."
            raise SensoriumError(question.where, what, "Keep one of them.")
        seen[question.id] = question.where
