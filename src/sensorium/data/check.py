"""Check a dataset folder from end to end: every row, every picture, and the promises that a reader relies on.

A problem is a line that names file, row and field. Beside rows that do not parse these are found: a picture that does
not open or has another size than its row says, a box around nothing, a conversation without a reply or about a scene
that is not there, probes that do not fit their scene, yes and no out of balance, and anything held out that leaks
into training.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from PIL import Image

from sensorium.data.check_report import CheckReport, check_counts, check_held_out, check_turns, good_rows
from sensorium.data.dataset import Dataset
from sensorium.data.films.check import check_films
from sensorium.data.records import (
    COLOURS,
    QUESTION_SUBSETS,
    ConversationRow,
    Probe,
    Scene,
    conversation_from_json,
    probe_from_json,
    scene_from_json,
)
from sensorium.grounding import Box, parse_grounded
from sensorium.progress import ProgressCallback

_LEAST_SIDE = 15  # thousandths
_LEAST_SMALL_SIDE = 4  # of small things, and of the letters of a page
_LEAST_ANSWERS = 100  # of one kind of question before their balance means anything
_LEAST_OF_TASK = 400  # of a task whose kinds are counted together: each may end in the middle of its deck
_IMBALANCE = 0.03  # share of yes may lie this far from a half
_OWN_BALANCE = ("several", "reading", "small")  # tasks whose yes and no are even by themselves
# What kind of question a bare yes or no answers, by its wording; the first that matches.
_KINDS = (
    ("count", re.compile(r"\b(only one|just one|exactly|single|two|three|four|five|number of|count)\b", re.I)),
    ("position", re.compile(r"\b(left|right|above|below|at the top|at the bottom)\b", re.I)),
    ("color", re.compile(rf"\b({'|'.join(COLOURS)})\b", re.I)),
    ("existence", re.compile(r"")),
)


def check_dataset(root: Path | str, progress: ProgressCallback | None = None) -> CheckReport:
    """Read everything. Raises SensoriumError only where there is no dataset at all; the rest is in the report."""
    dataset, report = Dataset(root), CheckReport()
    for number, split in enumerate(dataset.splits):
        if progress:
            progress(f"checking {split}", number, len(dataset.splits))
        check = check_films if dataset.has_films(split) else check_split
        check(dataset, split, report)
    return report


def check_split(dataset: Dataset, split: str, report: CheckReport) -> None:
    """Scenes first; conversations and probes are then held against them."""
    folder = dataset.folder(split)
    scenes: dict[str, Scene] = {}
    for where, scene in good_rows(folder / "scenes.jsonl", scene_from_json, report):
        if scene.id in scenes:
            report.add(f"{where}: id", f"{scene.id!r} is there twice.")
        scenes[scene.id] = scene
        _check_scene(scene, folder, where, report)
        _check_names(scene, split, dataset, where, report)
    counts = {"scenes": len(scenes), "conversations": 0, "probes": 0}
    answers: Counter[tuple[str, str]] = Counter()
    images = {scene.image for scene in scenes.values()}
    for where, row in good_rows(folder / "conversations.jsonl", conversation_from_json, report):
        counts["conversations"] += 1
        _check_conversation(row, scenes, images, where, report, answers)
    for where, probe in good_rows(folder / "probes.jsonl", probe_from_json, report):
        counts["probes"] += 1
        _check_probe(probe, scenes, images, where, report)
    report.rows[split] = counts
    check_counts(dataset.info["splits"][split], counts, folder, report)
    _check_balance(answers, folder / "conversations.jsonl", split, report)


def _check_scene(scene: Scene, folder: Path, where: str, report: CheckReport) -> None:
    try:
        with Image.open(folder / scene.image) as file:
            size = file.size
            file.load()
    except OSError as error:
        report.add(f"{where}: image", f"{scene.image} does not open ({error}).")
        return
    if size != (scene.width, scene.height):
        report.add(f"{where}: width, height", f"the row says {scene.width}x{scene.height}, the picture is {size}.")
    if not scene.objects and scene.kind != "page":
        report.add(f"{where}: objects", "is empty.")
    if not scene.printed and scene.kind in ("cards", "page"):
        report.add(f"{where}: printed", "is empty.")
    least = _LEAST_SMALL_SIDE if scene.kind == "small" else _LEAST_SIDE
    for i, thing in enumerate(scene.objects):
        if _is_too_small(thing.box, least):
            report.add(f"{where}: objects[{i}].box", f"{thing.box.corners} is too small to see anything in.")
    for word in scene.words:
        if _is_too_small(word.box, _LEAST_SMALL_SIDE):
            report.add(f"{where}: printed", f"the box of {word.text!r}, {word.box.corners}, is too small to read.")


def _is_too_small(box: Box, least: int) -> bool:
    return box.x2 - box.x1 < least or box.y2 - box.y1 < least


def _check_names(scene: Scene, split: str, dataset: Dataset, where: str, report: CheckReport) -> None:
    vocabulary = set(dataset.info.get("vocabulary", ()))
    for i, thing in enumerate(scene.objects):
        if vocabulary and thing.name not in vocabulary:
            report.add(f"{where}: objects[{i}].name", f"{thing.name!r} is not in the vocabulary.")
    shown: dict[str, set[str]] = {}
    if scene.kind != "page":  # which is nothing but words
        shown["objects"] = {thing.name for thing in scene.objects}
        shown["styles"] = {thing.style for thing in scene.objects}
        shown["backgrounds"] = {scene.background}
    if scene.printed:
        shown["words"] = {word.text.lower() for word in scene.words}
        shown["fonts"] = {block.font for block in scene.printed}
    check_held_out(dataset.info.get("held_out", {}), shown, split, where, report)


def _check_conversation(
    row: ConversationRow, scenes: dict[str, Scene], images: set[str], where: str, report: CheckReport,
    answers: Counter[tuple[str, str]],
) -> None:
    conversation = check_turns(row.messages, where, report)
    if conversation is None:
        return
    pictures = [image.source for image in conversation.images]
    expected = [] if row.scene is None else [scenes[row.scene].image] if row.scene in scenes else None
    if row.task == "several":
        if len(pictures) < 2 or not images.issuperset(pictures):
            report.add(f"{where}: messages", f"shows {pictures}, which should be several of its split's scenes.")
    elif expected is None:
        report.add(f"{where}: scene", f"{row.scene!r} is not in scenes.jsonl.")
    elif pictures != expected:
        report.add(f"{where}: messages", f"shows {pictures}, its scene has {expected}.")
    turns = [message.text for message in conversation if message.role != "system"]
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        if not answer.strip():
            report.add(f"{where}: messages", f"the reply to {question!r} is empty.")
        if answer.count("<box>") != sum(len(grounded.boxes) for grounded in parse_grounded(answer)):
            report.add(f"{where}: messages", f"a box in {answer!r} does not parse.")
        if row.task in ("chat", *_OWN_BALANCE) and (said := re.match(r"(Yes|No)\b", answer)):
            answers[row.task if row.task in _OWN_BALANCE else question_kind(question), said[1]] += 1


def question_kind(question: str) -> str:
    """Which of existence, count, color and position a yes/no question asks, by its wording."""
    return next(kind for kind, pattern in _KINDS if pattern.search(question))


def _check_probe(
    probe: Probe, scenes: dict[str, Scene], images: set[str], where: str, report: CheckReport
) -> None:
    scene = scenes.get(probe.scene)
    if scene is None:
        report.add(f"{where}: scene", f"{probe.scene!r} is not in scenes.jsonl.")
    elif probe.others:
        if not images.issuperset(probe.images) or scene.image not in probe.images:
            report.add(f"{where}: others", f"not all of {probe.images} are the split's, or {probe.scene} is not shown.")
    elif probe.image != scene.image:
        report.add(f"{where}: image", f"{probe.image} is not the picture of scene {probe.scene}.")
    elif probe.subset == "caption" and set(probe.objects) != set(scene.counts):
        report.add(f"{where}: objects", "are not the names in the scene.")
    elif probe.subset == "grounding" and [thing.box for thing in scene.of(probe.name or "")] != [probe.box]:
        report.add(f"{where}: box", f"{probe.name!r} is not in the scene once and there.")
    elif probe.subset == "reading_box" and [
        word.box for word in scene.words if probe.name == f'word "{word.text}"'
    ] != [probe.box]:
        report.add(f"{where}: box", f"the {probe.name} is not in the scene once and there.")


def _check_balance(answers: Counter[tuple[str, str]], path: Path, split: str, report: CheckReport) -> None:
    kinds = (*QUESTION_SUBSETS, *(kind for kind in _OWN_BALANCE if answers[kind, "Yes"] + answers[kind, "No"]))
    report.answers[split] = {kind: {said: answers[kind, said] for said in ("Yes", "No")} for kind in kinds}
    for kind, said in report.answers[split].items():
        total = said["Yes"] + said["No"]
        least = _LEAST_OF_TASK if kind in _OWN_BALANCE else _LEAST_ANSWERS
        if total >= least and abs(said["Yes"] / total - 0.5) > _IMBALANCE:
            report.add(
                path, f"{kind} questions are answered Yes {said['Yes']} times of {total}: looking is not needed."
            )
