"""What correction mends and what it harms, on captions whose errors are known because they were planted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw

from sensorium.correction import Corrector, Edit
from sensorium.correction.editors import Minimal
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.data.records import Scene, SceneObject
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.correction import evaluate_correction, is_planted
from sensorium.evaluation.planted import PLANTED, captions, lettered, write_captions
from sensorium.grounding import Box

NAMES = ("dog", "car", "apple", "chair", "umbrella", "clock", "banana", "horse", "kettle", "violin")
RGB = {"red": (220, 30, 30), "blue": (30, 60, 220), "green": (30, 160, 50), "brown": (120, 70, 20)}


def _scene(folder, number: int) -> Scene:
    """Three kinds of things in random places of a grid, one of them twice or three times."""
    rng = np.random.default_rng(number)
    picture = PILImage.new("RGB", (240, 240), (250, 250, 240))
    pen = ImageDraw.Draw(picture)
    cells = [(x, y) for x in range(3) for y in range(3)]
    rng.shuffle(cells)
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[:3]]
    objects = []
    for name in [*names, *names[:1] * int(rng.integers(1, 3))]:
        x, y = cells.pop()
        box = Box(int(x * 330 + 40), int(y * 330 + 40), int(x * 330 + 290), int(y * 330 + 290))
        colour = list(RGB)[NAMES.index(name) % 4]
        pen.rectangle(box.to_pixels(240, 240), fill=RGB[colour])
        objects.append(SceneObject(name, box, colour, name, "square"))
    path = folder / f"{number}.png"
    picture.save(path)
    return Scene(f"s{number}", str(path), 240, 240, "plain-0", tuple(objects))


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.load()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return [lettered(_scene(folder, n), folder) if n % 3 == 0 else _scene(folder, n) for n in range(12)]


@pytest.fixture(scope="module")
def rows(scenes, vocabulary):
    return list(captions(scenes, vocabulary))


def test_captions_are_the_same_every_time_and_hold_each_kind_of_error(rows, scenes, vocabulary, tmp_path):
    assert rows == list(captions(scenes, vocabulary))
    assert {row.kind for row in rows} == {None, *PLANTED}
    assert write_captions(rows, tmp_path / "captions.jsonl") == len(rows)
    for row in rows:
        assert (row.text == row.truth) == (row.kind is None)
        assert row.kind is None or row.text[slice(*row.wrong)] not in ("", row.truth)


def test_with_the_truth_known_errors_are_fixed_and_nothing_is_harmed(rows, scenes, vocabulary):
    scores = evaluate_correction(Corrector([Oracle.of(scenes, vocabulary)]), rows, vocabulary)
    fixed = sum(t.right for t in scores.fixed.values()) / sum(t.of for t in scores.fixed.values())
    assert fixed >= 0.95, [(r.text, report.output) for r, report in scores.wrong]
    assert scores.harmed.right == 0 and scores.touched.right == 0
    assert scores.refuted.right == scores.refuted.of


def test_a_corrector_that_deletes_everything_fixes_much_and_harms_all(rows, scenes, vocabulary):
    class Eraser(Minimal):
        def edit(self, task):
            return [Edit(start=0, end=len(task.text), replacement="", kind="delete")]

    scores = evaluate_correction(Corrector([Oracle.of(scenes, vocabulary)], editor=Eraser()), rows, vocabulary)
    assert scores.harmed.share.value == 1.0 and scores.recalled.share.value == 0.0 and scores.words[0] == 0
    assert scores.fixed["object"].share.value == 1.0 and scores.fixed["count"].share.value == 0.0


def test_a_corrector_that_sees_nothing_leaves_every_text_alone(rows, vocabulary):
    scores = evaluate_correction(Corrector([]), rows[:12], vocabulary)
    assert scores.touched.right == scores.harmed.right == scores.covered.right == 0
    assert scores.words[0] == scores.words[1]
    assert ("fixed, all", "0.0%") in [(name, value.split(" ")[0]) for name, value in scores.rows()]


def test_only_the_planted_claim_is_false(rows, scenes, vocabulary):
    from sensorium.correction.claims import find_claims

    oracle = Oracle.of(scenes, vocabulary)
    row = next(row for row in rows if row.kind == "colour")
    planted = [c for c in find_claims(row.text, None, oracle.names) if is_planted(c, row)]
    assert [(c.kind, c.thing.name) for c in planted] == [("colour", row.name)]
    true = dataclasses.replace(row, kind=None)
    assert not any(is_planted(c, true) for c in planted)


def test_every_changed_caption_is_looked_at_for_its_grammar(rows, scenes, vocabulary):
    scores = evaluate_correction(Corrector([Oracle.of(scenes, vocabulary)]), rows, vocabulary)
    assert scores.intact.of == len(scores.changed) == sum(t.of for t in scores.fixed.values())
    assert scores.intact.right == scores.intact.of, [(r.output, faults) for r, faults in scores.changed if faults]
    assert scores.to_json()["intact"]["value"] == 1

    class Careless(Minimal):
        """Numbers without the nouns and verbs that go with them."""

        def edit(self, task):
            return [edit for edit in super().edit(task) if edit.kind != "agreement"]

    worse = evaluate_correction(Corrector([Oracle.of(scenes, vocabulary)], Careless()), rows, vocabulary)
    found = [fault for _, faults in worse.changed for fault in faults]
    assert worse.intact.right < worse.intact.of and {fault.kind for fault in found} <= {"verb", "determiner"}
