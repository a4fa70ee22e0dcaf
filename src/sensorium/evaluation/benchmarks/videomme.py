"""Video-MME: multiple choice about videos. Its content may not be redistributed, so none of it is here.

As it is published: a parquet file of questions, whatever its name, `data/VIDEOID.mp4` and, of videos that have them,
`subtitle/VIDEOID.srt`. The template of its results is read as well, an array of videos with questions, and VLMEvalKit's
table; videos are then named by `video_id`, `videoID` or the end of `url`. A folder of `sensorium data build video` is
asked about likewise.

Without a word about frames, eight are looked at, at the places where each protocol takes them. With subtitles, only the
lines on the screen at the times of those frames are told; a video that has none is asked about without, and a set of
which none has any is refused. Where frames are taken by subtitles, each line stands before its frame instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sensorium.conversation import Video
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question, TimesOf
from sensorium.evaluation.benchmarks.cells import one_of, require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import videomme
from sensorium.evaluation.scorers.choices import lmms_eval_letter, videomme_letter, videomme_letter_of_vlmevalkit
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_trailing_rows
from sensorium.media.subtitles import Line, lines_at, read_subtitles

_REQUEST = (
    "Select the best answer to the following multiple-choice question based on the video{}. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
_LEAD = "This video's subtitles are listed below:"
# Where each protocol takes its frames, see `media.sampling`; the authors leave that to the model.
_SAMPLING = {"official": "uniform", "vlmevalkit": "uniform-inner", "lmms-eval": "uniform-ends"}
# What a set of our own films is called in its terms.
_ABOUT = {"domain": "Film & Television", "sub_category": "Animation"}
_KINDS = ("duration", "domain", "sub_category", "task_type")


def read(data: Data, prompt: str) -> Iterator[Question]:
    if data.layout == "scenes":
        return _films(data, prompt)
    if data.with_subtitles:
        data.require_subtitles()
    return _official(data, prompt) if data.layout == "official" else _table(data, prompt)


def _films(data: Data, prompt: str) -> Iterator[Question]:
    """A dataset of our own films, as if it were this benchmark. Raises SensoriumError for one of pictures."""
    for split in data.scene_splits:
        if not data.scenes.has_films(split):
            remedy = "Build films with `sensorium data build video`, or ask a `scenes-…` benchmark."
            raise SensoriumError(data.path, f"shows pictures in {split!r} and no films.", remedy)
    films_of = {split: {film.id: film for film in data.scenes.films(split)} for split in data.scene_splits}
    if data.with_subtitles and not any(film.subtitles for films in films_of.values() for film in films.values()):
        remedy = "Build long films, whose narrator is told so (`--minutes 10`), or leave --subtitles out."
        raise SensoriumError(data.path, "has no subtitles, and --subtitles asks for them.", remedy)
    for split, films in films_of.items():
        for number, one in enumerate(data.scenes.questions(split), start=1):
            where = f"{data.scenes.folder(split) / 'questions.jsonl'} row {number}"
            film = films.get(one.film)
            if film is None:
                raise SensoriumError(where, f"is about the film {one.film!r}, which is not there.", "Build it again.")
            row = {
                **_ABOUT, "duration": duration_of(film.minutes), "task_type": one.task_type, "question": one.question,
                "answer": one.answer,
            }  # fmt: skip
            options = [f"{letter}. {option}" for letter, option in zip("ABCD", one.options, strict=True)]
            yield _question(f"{split}/{one.id}", f"{split}/{film.id}", row, options, prompt, where, data,
                            Video(film.video), film.subtitles)  # fmt: skip


def duration_of(minutes: int) -> str:
    """What Video-MME calls a film of so many minutes; 0 of a clip."""
    return "short" if minutes <= 2 else "medium" if minutes <= 15 else "long"


def _table(data: Data, prompt: str) -> Iterator[Question]:
    table = data.table()
    names = ("videoID", "video", "video_id"), ("options", "candidates")
    require_columns(table, *names, "question", "answer", *_KINDS)
    asked: dict[str, int] = {}
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        video = words(row, where, *names[0])
        asked[video] = asked.get(video, 0) + 1
        name = str(row.get("question_id") or f"{video}-{asked[video]}")
        yield _question(name, video, row, strings(row, where, *names[1]), prompt, where, data)


def _official(data: Data, prompt: str) -> Iterator[Question]:
    rows = read_trailing_rows(data.one_file("questions", "*.json"))
    rows.by("video_id")
    for i in range(len(rows)):
        where, video = rows.where(i), rows.text(i, "video_id")
        questions = rows[i].get("questions")
        if not isinstance(questions, list) or not all(isinstance(one, dict) for one in questions):
            raise rows.fault(i, "`questions` is not a list of objects.")
        for one in questions:
            row = {**rows[i], **one}
            yield _question(words(row, where, "question_id"), video, row, strings(row, where, "options"), prompt, where,
                            data)  # fmt: skip


def _question(
    name: str, video: str, row: Mapping[str, Any], options: list[str], prompt: str, where: str, data: Data,
    known: Video | None = None, known_subtitles: str | None = None,
) -> Question:
    """known, known_subtitles: where these lie, if they need not be looked for by their names."""
    kinds = {key: one_of(words(row, where, key), videomme.KNOWN[key], where, key) for key in _KINDS}
    answer = one_of(words(row, where, "answer"), "ABCD", where, "answer")
    url = str(row.get("videoID") or row.get("url", "")).rpartition("v=")[2]

    path: str | None = None
    if data.with_subtitles:
        lies = known_subtitles if known else data.subtitles(video) or data.subtitles(url)
        path = None if lies is None else str(lies)

    def shown() -> Video:
        try:
            found = known or data.video(video)
        except SensoriumError:
            if not url or url == video:
                raise
            found = data.video(url)
        beside = path if data.sampling == "subtitles" else None
        return replace(found, frames=data.frames, sampling=data.sampling or _SAMPLING[prompt], subtitles=beside,
                       timestamps=False)  # fmt: skip

    def said(times_of: TimesOf) -> str:
        told = _told(read_subtitles(str(path)), times_of(shown()), prompt)
        return f"{_LEAD}\n{told}\n" if told else ""

    def media() -> tuple[Video, ...]:
        return (shown(),)

    asked = words(row, where, "question")
    text = _text(asked, options, prompt)
    truth = {**kinds, "answer": answer, "options": options, "question": asked}
    return Question(name, video, kinds["duration"], text, truth, media, where,
                    None if path is None or data.sampling == "subtitles" else said)  # fmt: skip


def _told(lines: Sequence[Line], times: Sequence[float], prompt: str) -> str:
    """The lines on the screen at the frames' times, each once; VLMEvalKit repeats one that several frames show."""
    told = [line for time_s in times for line in lines_at(lines, [time_s])] if prompt == "vlmevalkit" else (
        lines_at(lines, times))  # fmt: skip
    return "\n".join(line.text for line in told)


def _text(question: str, options: Sequence[str], prompt: str) -> str:
    lines = "\n".join(options)
    if prompt == "vlmevalkit":
        return f"\n{_REQUEST.format('')}\nQuestion: {question}\n{lines}\nAnswer: "
    # lmms-eval speaks of subtitles also where it shows none.
    request = _REQUEST.format(" and the subtitles" if prompt == "lmms-eval" else "")
    return f"{request}\n{question}\n{lines}\nThe best answer is:"


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return videomme.score([
        videomme.VideoReply(one.cluster, **{key: one.truth[key] for key in _KINDS}, answer=one.truth["answer"],
                            reply=one.reply, options=tuple(one.truth["options"]))
        for one in answers
    ], variant)  # fmt: skip


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    letters = [_letter(one, variant) for one in answers]
    return [Judged(float(said == one.truth["answer"]), said) for one, said in zip(answers, letters, strict=True)]


def _letter(one: Answer, variant: str) -> str:
    if variant == "official":
        return videomme_letter(one.reply)
    if variant == "lmms-eval":
        return lmms_eval_letter(one.reply)
    options = {option[0]: option[2:].strip(". \n") for option in one.truth["options"] if option[1:2] == "."}
    return videomme_letter_of_vlmevalkit(one.reply, options)


VIDEOMME = Benchmark(
    "videomme", "Video-MME", ("official", "vlmevalkit", "lmms-eval"), videomme.VARIANTS, 32, read, score, judge, "video"
)
