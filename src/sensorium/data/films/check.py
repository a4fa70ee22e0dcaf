"""Check a split of films: every row, every video, its certificates, held-out things, and yes, no and letters even."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sensorium.conversation import Video
from sensorium.data.check_report import CheckReport, check_counts, check_held_out, check_turns, good_rows
from sensorium.data.dataset import Dataset
from sensorium.data.films.records import Film, Span, certificates_from_json, film_from_json, question_from_json
from sensorium.data.records import ConversationRow, conversation_from_json
from sensorium.errors import SensoriumError
from sensorium.media.subtitles import read_subtitles
from sensorium.media.video import video_info

_LATE_S = 0.6  # that a video may be shorter or longer than its row says
_LEAST_ANSWERS = 100
_IMBALANCE = 0.03  # of yes from a half; of a letter, twice as much from a quarter


def check_films(dataset: Dataset, split: str, report: CheckReport) -> None:
    """Films first; conversations and questions are then held against them."""
    folder = dataset.folder(split)
    films: dict[str, Film] = {}
    for where, film in good_rows(folder / "films.jsonl", film_from_json, report):
        if film.id in films:
            report.add(f"{where}: id", f"{film.id!r} is there twice.")
        films[film.id] = film
        _check_video(dataset, split, film, where, report)
        _check_names(dataset, split, film, where, report)
    answers: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    counts = {"films": len(films), "conversations": 0, "questions": 0}

    def with_spans(row: Any, where: str) -> tuple[ConversationRow, list[tuple[Span, ...]]]:
        return conversation_from_json(row, where), certificates_from_json(row, where)

    for where, (row, spans) in good_rows(folder / "conversations.jsonl", with_spans, report):
        counts["conversations"] += 1
        _check_conversation(row, spans, films, where, report, answers)
    for where, question in good_rows(folder / "questions.jsonl", question_from_json, report):
        counts["questions"] += 1
        letters[question.answer] += 1
        if question.film not in films:
            report.add(f"{where}: film", f"{question.film!r} is not in films.jsonl.")
        else:
            _check_spans(question.spans, films[question.film], f"{where}: spans", report)
    report.rows[split] = counts
    report.answers[split] = {"video": {said: answers[said] for said in ("Yes", "No")}}
    check_counts(dataset.info["splits"][split], counts, folder, report)
    _check_even(answers, 2, folder / "conversations.jsonl", report)
    _check_even(letters, 4, folder / "questions.jsonl", report)


def _check_video(dataset: Dataset, split: str, film: Film, where: str, report: CheckReport) -> None:
    folder = dataset.folder(split)
    try:
        info = video_info(str(folder / film.video))
        if film.subtitles is not None:
            read_subtitles(folder / film.subtitles)
    except SensoriumError as error:
        report.add(f"{where}: video", f"{error.where}: {error.what}")
        return
    if (info.width, info.height) != (film.width, film.height) or abs(info.duration_s - film.duration_s) > _LATE_S:
        said = f"{film.width}x{film.height} of {film.duration_s:g} s"
        report.add(f"{where}: video", f"the row says {said}, it has {info.width}x{info.height}, {info.duration_s:g} s.")
    for i, one in enumerate(film.happenings):
        _check_spans([one.span], film, f"{where}: happenings[{i}].span", report)


def _check_names(dataset: Dataset, split: str, film: Film, where: str, report: CheckReport) -> None:
    shown = {
        "objects": {actor.name for actor in film.actors},
        "styles": {actor.style for actor in film.actors},
        "backgrounds": {one.background for one in film.sets},
        "words": {card.name for card in film.of("card")},
    }
    check_held_out(dataset.info.get("held_out", {}), shown, split, where, report)


def _check_conversation(
    row: ConversationRow, spans: list[tuple[Span, ...]], films: dict[str, Film], where: str, report: CheckReport,
    answers: Counter[str],
) -> None:
    conversation = check_turns(row.messages, where, report)
    if conversation is None:
        return
    film = films.get(row.scene or "")
    shown = [part.source for message in conversation for part in message.parts if isinstance(part, Video)]
    if film is None:
        report.add(f"{where}: scene", f"{row.scene!r} is not in films.jsonl.")
        return
    if shown != [film.video]:
        report.add(f"{where}: messages", f"shows {shown}, its film is {film.video}.")
    n_asked = sum(message.role == "user" for message in conversation)
    if len(spans) != n_asked:
        report.add(f"{where}: spans", f"are of {len(spans)} questions; {n_asked} are asked.")
    for i, of_question in enumerate(spans):
        _check_spans(of_question, film, f"{where}: spans[{i}]", report)
    for message in conversation:
        if message.role == "assistant" and not message.text.strip():
            report.add(f"{where}: messages", "a reply is empty.")
        elif message.role == "assistant" and (said := message.text.split(",")[0].rstrip(".")) in ("Yes", "No"):
            answers[said] += 1


def _check_spans(spans: Sequence[Span], film: Film, where: str, report: CheckReport) -> None:
    for span in spans:
        if not 0 <= span[0] < span[1] <= film.duration_s + 1e-6:
            report.add(where, f"{list(span)} is no stretch of {film.duration_s:g} s.")


def _check_even(counts: Counter[str], n_kinds: int, path: object, report: CheckReport) -> None:
    total = sum(counts.values())
    for said, count in sorted(counts.items()) if total >= _LEAST_ANSWERS else ():
        if abs(count / total - 1 / n_kinds) > _IMBALANCE * n_kinds / 2:
            report.add(path, f"{said} is the answer {count} times of {total}: looking is not needed.")
