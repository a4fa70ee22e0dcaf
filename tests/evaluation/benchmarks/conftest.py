"""Look-alikes of every benchmark in every layout: three pictures drawn here, questions made up here."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from ...engine.conftest import llava_folder, llava_model  # noqa: F401 - fixtures: a tiny model of transformers

COLOURS = {"red": (210, 30, 30), "green": (30, 190, 40), "blue": (30, 50, 210)}
SIZE = (64, 48)
VIDEO = {"duration": "short", "domain": "Knowledge", "sub_category": "Geography", "task_type": "OCR Problems"}
OPTIONS = ["A. One.", "B. Two.", "C. Three.", "D. Four."]


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Picture.new("RGB", SIZE, COLOURS[colour]).save(stream, "PNG")
    return stream.getvalue()


def as_cell(colour: str) -> str:
    return base64.b64encode(png(colour)).decode()


def write_tsv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], group: int = 2) -> Path:
    """Pictures as Hugging Face has them, {bytes, path}; a row group of two, so that a file has several."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=group)
    return path


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_pictures(folder: Path, names: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in names.items():
        (folder / name).write_bytes(png(colour))


def cell(colour: str) -> dict[str, Any]:
    return {"bytes": png(colour), "path": f"{colour}.png"}


PAIR = (("Is it red? Please answer yes or no.", "Yes"), ("Is it a boat? Please answer yes or no.", "No"))


def mme(layout: str, root: Path) -> Path:
    asked = [("existence", "red"), ("existence", "green"), ("OCR", "blue")]
    if layout == "official":
        for task, colour in asked:
            pictures, texts = (root / task / "images", root / task / "questions_answers_YN") if task == "OCR" else \
                (root / task, root / task)  # fmt: skip
            write_pictures(pictures, {f"{colour}.png": colour})
            texts.mkdir(exist_ok=True)
            (texts / f"{colour}.txt").write_text("".join(f"{q}\t{a}\n" for q, a in PAIR))
        return root
    if layout == "parquet":
        return write_parquet(root / "data" / "test-0.parquet", [
            {"question_id": f"{task}/{colour}.png", "image": cell(colour), "question": q, "answer": a, "category": task}
            for task, colour in asked for q, a in PAIR
        ]).parent.parent  # fmt: skip
    rows = []
    for task, colour in asked:
        first = len(rows)
        rows += [
            {"index": first, "image": as_cell(colour), "question": PAIR[0][0], "answer": "Yes", "category": task},
            {"index": first + 1, "image": first, "question": PAIR[1][0], "answer": "No", "category": task},
        ]
    return write_tsv(root / "MME.tsv", rows)


def pope(layout: str, root: Path) -> Path:
    asked = [("random", "red", "yes"), ("random", "red", "no"), ("popular", "green", "yes"), ("popular", "red", "no")]
    if layout == "official":
        write_pictures(root / "images", {f"{colour}.png": colour for colour in COLOURS})
        for task in ("random", "popular"):
            write_lines(root / f"coco_pope_{task}.json", [
                {"question_id": i, "image": f"{colour}.png", "text": f"Is there a {label}?", "label": label}
                for i, (name, colour, label) in enumerate(asked, start=1) if name == task
            ])  # fmt: skip
        return root
    if layout == "parquet":
        return write_parquet(root / "pope.parquet", [
            {"id": str(i), "question_id": str(i), "question": f"Is there a {label}?", "answer": label,
             "image_source": colour, "image": cell(colour), "category": task}
            for i, (task, colour, label) in enumerate(asked)
        ])  # fmt: skip
    return write_tsv(root / "POPE.tsv", [
        {"index": i, "image": as_cell(colour), "question": f"Is there a {label}?", "answer": label.title(),
         "category": task if i else "random,popular"}
        for i, (task, colour, label) in enumerate(asked)
    ])  # fmt: skip


def vqav2(layout: str, root: Path) -> Path:
    answers = [["red"] * 8 + ["dark red"] * 2, ["2"] * 10, ["no"] * 10]
    asked = [(i, colour, f"what is {colour}?", answers[i]) for i, colour in enumerate(COLOURS)]
    kinds = {"question_type": "what is", "answer_type": "other"}
    if layout == "official":
        write_json(root / "v2_OpenEnded_mscoco_val2014_questions.json", {
            "data_subtype": "val2014",
            "questions": [{"image_id": i, "question": q, "question_id": i * 10} for i, _, q, _ in asked],
        })  # fmt: skip
        write_json(root / "v2_mscoco_val2014_annotations.json", {"annotations": [
            {"question_id": i * 10, "image_id": i, **kinds, "multiple_choice_answer": given[0],
             "answers": [{"answer": one, "answer_id": n} for n, one in enumerate(given, start=1)]}
            for i, _, _, given in asked
        ]})  # fmt: skip
        write_pictures(root / "images", {f"COCO_val2014_{i:012}.jpg": colour for i, colour, _, _ in asked})
        return root
    if layout == "parquet":
        return write_parquet(root / "v.parquet", [
            {"image": cell(colour), "question": q, "question_id": i * 10, "image_id": i, **kinds,
             "multiple_choice_answer": given[0], "answers": [{"answer": one} for one in given]}
            for i, colour, q, given in asked
        ])  # fmt: skip
    return write_tsv(root / "TextVQA_VAL.tsv", [
        {"index": i, "image": as_cell(colour), "question": q, "answer": str(given)} for i, colour, q, given in asked
    ])  # fmt: skip


def textvqa(layout: str, root: Path) -> Path:
    if layout != "official":
        return vqav2(layout, root)
    write_pictures(root / "images", {f"{colour}.jpg": colour for colour in COLOURS})
    rows = [{"question_id": i, "image_id": colour, "question": "what does it SAY?", "answers": ["stop"] * 10}
            for i, colour in enumerate(COLOURS)]  # fmt: skip
    return write_json(root / "TextVQA_0.5.1_val.json", {"data": rows}).parent


def refcoco(layout: str, root: Path) -> Path:
    """The box is the left half of the picture, and asked for by two phrases."""
    x1, y1, x2, y2 = 0, 0, SIZE[0] // 2, SIZE[1]
    if layout == "official":
        write_pictures(root / "images", {"red.png": "red"})
        write_json(root / "instances.json", {
            "images": [{"id": 1, "file_name": "red.png", "width": SIZE[0], "height": SIZE[1]}],
            "annotations": [{"id": 5, "image_id": 1, "bbox": [x1, y1, x2, y2]}],
        })  # fmt: skip
        sentences = [{"sent_id": i, "sent": text, "raw": text} for i, text in enumerate(("left side", "the red"))]
        reference = {"ref_id": 1, "ann_id": 5, "image_id": 1, "split": "val", "sentences": sentences}
        (root / "refs(unc).p").write_bytes(pickle.dumps([reference, {**reference, "split": "train"}]))
        return root
    if layout == "parquet":
        return write_parquet(root / "val.parquet", [
            {"question_id": "1", "image": cell("red"), "question": "?", "answer": ["left side", "the red"],
             "bbox": [float(x1), float(y1), float(x2), float(y2)], "file_name": "red.png"}
        ])  # fmt: skip
    corners = dict(zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), (x1, y1, x2, y2), strict=True))
    return write_tsv(root / "RefCOCO.tsv", [
        {"index": i, "image": as_cell("red"), "question": text, **corners, "width": SIZE[0], "height": SIZE[1],
         "split": "val", "category": "", "answer": text}
        for i, text in enumerate(("left side", "the red"))
    ])  # fmt: skip


def caption(layout: str, root: Path) -> Path:
    said = {colour: [f"a {colour} wall", f"one big {colour} wall in the sun"] for colour in COLOURS}
    if layout == "official":
        write_pictures(root / "images", {f"{colour}.png": colour for colour in COLOURS})
        return write_json(root / "captions_val2014.json", {
            "images": [{"id": i, "file_name": f"{colour}.png"} for i, colour in enumerate(COLOURS)],
            "annotations": [{"id": 10 * i + j, "image_id": i, "caption": text}
                            for i, colour in enumerate(COLOURS) for j, text in enumerate(said[colour])],
        }).parent  # fmt: skip
    if layout == "parquet":
        return write_parquet(root / "c.parquet", [
            {"question_id": f"{colour}.png", "image": cell(colour), "question": "?", "answer": said[colour], "id": i}
            for i, colour in enumerate(COLOURS)
        ])  # fmt: skip
    return write_tsv(root / "COCO_VAL.tsv", [
        {"index": i, "image": as_cell(colour), "answer": str(said[colour])} for i, colour in enumerate(COLOURS)
    ])  # fmt: skip


def chartqa(layout: str, root: Path) -> Path:
    asked = [("human", "red", "100"), ("human", "red", "Yes"), ("augmented", "blue", "7%")]
    if layout == "official":
        write_pictures(root / "png", {f"{colour}.png": colour for colour in COLOURS})
        for split in ("human", "augmented"):
            write_json(root / f"test_{split}.json", [
                {"imgname": f"{colour}.png", "query": f"How much {label}?", "label": label}
                for name, colour, label in asked if name == split
            ])  # fmt: skip
        return root
    if layout == "parquet":
        return write_parquet(root / "c.parquet", [
            {"type": f"{split}_test", "question": f"How much {label}?", "answer": label, "image": cell(colour)}
            for split, colour, label in asked
        ])  # fmt: skip
    return write_tsv(root / "ChartQA_TEST.tsv", [
        {"index": i, "image": as_cell(colour), "question": f"How much {label}?", "answer": str([label]),
         "split": f"test_{split}"} for i, (split, colour, label) in enumerate(asked)
    ])  # fmt: skip


def docvqa(layout: str, root: Path) -> Path:
    asked = [(i, colour, ["The Fox", "fox"]) for i, colour in enumerate(COLOURS)]
    if layout == "official":
        write_pictures(root / "documents", {f"{colour}.png": colour for colour in COLOURS})
        return write_json(root / "val_v1.0.json", {"data": [
            {"questionId": i, "question": "Who?", "image": f"documents/{colour}.png", "answers": given}
            for i, colour, given in asked
        ]}).parent  # fmt: skip
    if layout == "parquet":
        return write_parquet(root / "d.parquet", [
            {"questionId": str(i), "question": "Who?", "answers": given, "image": cell(colour)}
            for i, colour, given in asked
        ])  # fmt: skip
    return write_tsv(root / "DocVQA_VAL.tsv", [
        {"index": i, "image": as_cell(colour), "question": "Who?", "answer": str(given)} for i, colour, given in asked
    ])  # fmt: skip


def mathvista(layout: str, root: Path) -> Path:
    metadata = {"category": "general-vqa", "task": "figure", "skills": ["arithmetic reasoning"]}
    problems = {
        "1": {"question": "?", "query": "Hint: a number.\nQuestion: ?", "choices": None, "precision": None,
              "answer": "4", "question_type": "free_form", "answer_type": "integer"},
        "2": {"question": "?", "query": "Hint: a letter.\nQuestion: ?", "choices": ["one", "two"], "precision": None,
              "answer": "two", "question_type": "multi_choice", "answer_type": "text"},
        "3": {"question": "?", "query": "Hint: a number.\nQuestion: ?", "choices": None, "precision": 1.0,
              "answer": "1.5", "question_type": "free_form", "answer_type": "float"},
    }  # fmt: skip
    colours = dict(zip(problems, COLOURS, strict=True))
    if layout == "official":
        write_pictures(root / "images", {f"{pid}.jpg": colour for pid, colour in colours.items()})
        content = {pid: {**row, "pid": pid, "image": f"images/{pid}.jpg", "metadata": metadata}
                   for pid, row in problems.items()}  # fmt: skip
        return write_json(root / "testmini.json", content).parent
    if layout == "parquet":
        return write_parquet(root / "testmini.parquet", [
            {**row, "pid": pid, "image": f"images/{pid}.jpg", "decoded_image": cell(colours[pid]), "metadata": metadata}
            for pid, row in problems.items()
        ])  # fmt: skip
    return write_tsv(root / "MathVista_MINI.tsv", [
        {"index": pid, "image": as_cell(colours[pid]), "question": row["query"], "choices": str(row["choices"] or []),
         "precision": row["precision"] or "", "answer": row["answer"], "question_type": row["question_type"],
         "answer_type": row["answer_type"], "task": "figure", "skills": "['arithmetic reasoning']"}
        for pid, row in problems.items()
    ])  # fmt: skip


def mcq(layout: str, root: Path) -> Path:
    """Two questions, the first with its rotation a million on, whose picture is a pointer."""
    rows = [
        {"index": 1, "image": as_cell("red"), "question": "Colour?", "hint": "Look.", "A": "red", "B": "blue", "C": "",
         "answer": "A", "category": "colour"},
        {"index": 2, "image": str([as_cell("red"), as_cell("blue")]), "question": "Same?", "hint": "", "A": "yes",
         "B": "no", "C": "perhaps", "answer": "B", "category": "relation"},
        {"index": 1_000_001, "image": 1, "question": "Colour?", "hint": "Look.", "A": "blue", "B": "red", "C": "",
         "answer": "B", "category": "colour"},
    ]  # fmt: skip
    if layout == "tsv":
        return write_tsv(root / "MMBench.tsv", rows)
    return write_parquet(root / "m.parquet", [{**row, "image": cell("red")} for row in rows])


def videomme(layout: str, root: Path) -> Path:
    questions = [{"question_id": f"001-{i}", "question": "Which?", "options": OPTIONS, "answer": letter}
                 for i, letter in enumerate("ABC", start=1)]  # fmt: skip
    (root / ("data" if layout == "parquet" else "videos")).mkdir(parents=True)
    about = {key: VIDEO[key] for key in ("duration", "domain", "sub_category")}
    if layout == "official":
        (root / "videos" / "001.mp4").write_bytes(b"not looked into")
        rows = [{**one, "task_type": VIDEO["task_type"], "response": ""} for one in questions]
        text = json.dumps([{"video_id": "001", **about, "questions": rows}]).replace("}]", "},]")
        (root / "output_test_template.json").write_text(text)
        return root
    if layout == "parquet":
        (root / "data" / "xyz.mp4").write_bytes(b"not looked into")
        return write_parquet(root / "videomme" / "test.parquet", [
            {"video_id": "001", "videoID": "xyz", "url": "https://example.org/watch?v=xyz", **VIDEO, **one}
            for one in questions
        ]).parent.parent  # fmt: skip
    (root / "videos" / "xyz.mp4").write_bytes(b"not looked into")
    return write_tsv(root / "Video-MME.tsv", [
        {"index": i, "video": "xyz", "video_path": "./video/xyz.mp4", **VIDEO, "candidates": str(OPTIONS),
         "subtitle_path": "", "question": "Which?", "answer": one["answer"]}
        for i, one in enumerate(questions)
    ])  # fmt: skip


MAKERS: dict[str, Callable[[str, Path], Path]] = {
    "mme": mme, "pope": pope, "vqav2": vqav2, "okvqa": vqav2, "textvqa": textvqa, "refcoco": refcoco,
    "caption": caption, "chartqa": chartqa, "docvqa": docvqa, "infovqa": docvqa, "mathvista": mathvista, "mcq": mcq,
    "videomme": videomme,
}  # fmt: skip


@pytest.fixture
def lookalike(tmp_path: Path) -> Callable[[str, str], Path]:
    """`lookalike(benchmark, layout)`: the --data of a made-up copy."""
    return lambda name, layout: MAKERS[name](layout, tmp_path / f"{name}-{layout}")


@pytest.fixture
def tsv() -> Callable[..., Path]:
    return write_tsv


@pytest.fixture
def parquet() -> Callable[..., Path]:
    return write_parquet


@pytest.fixture
def picture_cell() -> Callable[[str], str]:
    return as_cell
