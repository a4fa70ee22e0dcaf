"""The benchmarks run; how fast is never tested."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.errors import SensoriumError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _beside_one_another(monkeypatch):
    """Scripts find what they share as they do when they are started by hand."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_both_ways_to_train_see_the_same_conversations(
    tiny_recipe_tree, tiny_data, tmp_path, own_cache, monkeypatch, capsys
):
    recipe = tmp_path / "recipe.yaml"
    tiny_recipe_tree["stages"][2]["together"] = 2
    recipe.write_text(yaml.safe_dump(tiny_recipe_tree))
    words = [str(tiny_data), "--recipe", str(recipe), "--samples", "20", "--batch", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["train_step.py", *words])
    runpy.run_path(str(BENCHMARKS / "train_step.py"), run_name="__main__")  # asserts the sameness itself
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratio"] == pytest.approx(found["ours"] / found["plain"])


@pytest.mark.slow
def test_first_answer_tells_where_the_time_goes(tiny_model, tmp_path):
    from sensorium.model.checkpoint import save_model

    folder = save_model(tiny_model, tmp_path / "model", ["vision"])
    command = [sys.executable, str(BENCHMARKS / "first_answer.py"), "--model", str(folder), "--repeat", "1", "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert found["first_byte_s"] > 0
    assert sum(found["steps_s"].values()) > found["steps_s"]["loading the engine"] > 0


def test_stored_replies_are_scored(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--stored", "600", "--json"])
    runpy.run_path(str(BENCHMARKS / "evaluate.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["replies"], found["aim"]) == (600, pytest.approx(0.036))
    assert 0.4 < found["accuracy"] < 0.6, "replies are drawn without looking at the truth"


@pytest.mark.slow
def test_a_run_asks_what_one_question_after_the_other_asks(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--pictures", "3", "--rounds", "1", "--json"])
    runpy.run_path(str(BENCHMARKS / "evaluate.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    plain = found["against plain"]
    assert found["questions"] == 6 and plain["same replies"] >= 4, "of a random model, near ties may fall either way"
    assert plain["ratio"] > 0


def test_all_who_read_a_video_read_the_same_frames(monkeypatch, capsys):
    words = ["--seconds", "2", "--hour-seconds", "6", "--frames", "4", "--rounds", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["video.py", *words])
    runpy.run_path(str(BENCHMARKS / "video.py"), run_name="__main__")  # compares the frames itself
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"every frame", "sampled", "hour"}
    assert all(found[task]["to opencv"]["speed"] > 0 for task in found)


def test_a_weakened_model_is_the_same_each_time_and_differs_only_where_it_should(tiny_model, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from sensorium.model.checkpoint import load_model, save_model

    folder = save_model(tiny_model, tmp_path / "model", ["vision", "connector"])
    for name in ("one", "two"):
        words = ["weaken.py", str(tmp_path / name), "--model", str(folder), "--noise", "0.5", "--seed", "3"]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(BENCHMARKS / "weaken.py"), run_name="__main__")
    before, one, two = (load_file(tmp_path / name / "trained.safetensors") for name in ("model", "one", "two"))
    assert all(one[name].equal(two[name]) for name in before)
    changed = {name for name in before if not one[name].equal(before[name])}
    assert changed and all(name.startswith("connector.") for name in changed)
    name = max(changed, key=lambda name: before[name].numel())
    noise = (one[name].float() - before[name].float()).std() / before[name].float().std()
    assert float(noise) == pytest.approx(0.5, abs=0.05)
    assert load_model(tmp_path / "one").tokens_per_picture == tiny_model.tokens_per_picture


def test_choices_of_replies_start_from_the_warm_row_of_their_model(tmp_path):
    """Rows that are there are not trained again; a change of rates, ranks or tasks of the last stage needs no other."""
    from argparse import Namespace

    names = runpy.run_path(str(BENCHMARKS / "choices.py"))
    options = Namespace(warm=64, instruct=32, validation=4, data=Path("runs/scenes"), out=tmp_path)
    rows = {"as the recipe has it": "warm-as-the-recipe-has-it", "16 visual tokens": "warm-16-visual-tokens"}
    for row in rows.values():
        (tmp_path / row / "model").mkdir(parents=True)
        (tmp_path / row / "journal.jsonl").write_text('{"validation": {"loss": 1.0}}\n')
    for name, change in names["REPLY_CHOICES"].items():
        tree = names["_recipe"](options, "replies")
        change(tree)
        names["_start_warm"](tree, options)
        assert [stage["name"] for stage in tree["stages"]] == ["instruct"]
        if name == "without warm-up":
            assert "start" not in tree and "model" in tree
        else:
            row = rows.get(name, "warm-as-the-recipe-has-it")
            assert tree["start"] == str(tmp_path / row) and "model" not in tree


@pytest.fixture
def compressed(tiny_model, tmp_path, monkeypatch, capsys) -> Callable[..., dict[str, Any]]:
    """`compression.py` with a tiny model of 2 x 2 visual tokens; what it found."""
    from sensorium.model.checkpoint import save_model

    folder = save_model(tiny_model, tmp_path / "model", ["vision", "connector"])

    def measured(*words: object) -> dict[str, Any]:
        fixed = ["--out", tmp_path / "out", "--model", folder, "--engine", "torch", "--rounds", 1, "--json"]
        monkeypatch.setattr(sys, "argv", ["compression.py", *map(str, [*words, *fixed])])
        runpy.run_path(str(BENCHMARKS / "compression.py"), run_name="__main__")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return measured


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Three pictures, each asked about in two pairs."""
    from PIL import Image

    pictures = tmp_path / "scenes" / "test_seen" / "images"
    pictures.mkdir(parents=True)
    probes = []
    for number in range(3):
        Image.new("RGB", (60, 40), (80 * number, 90, 200)).save(pictures / f"{number}.png")
        pair = [{"question": "Is there a dog?", "answer": "Yes"}, {"question": "Is there a cat?", "answer": "No"}]
        probes += [{"id": f"{number}-{subset}", "scene": str(number), "image": f"images/{number}.png",
                    "subset": subset, "questions": pair} for subset in ("existence", "count")]  # fmt: skip
    (pictures.parent / "probes.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes))
    (pictures.parent / "scenes.jsonl").write_text("")
    (pictures.parents[1] / "dataset.json").write_text(json.dumps({
        "format": "sensorium-conversations-1", "name": "three", "seed": 0, "fingerprint": "f",
        "splits": {"test_seen": {}}, "vocabulary": ["cat", "dog"],
    }))  # fmt: skip
    return pictures.parents[1]


def test_compressions_are_held_against_all_tokens_and_as_many_by_lot_and_nothing_is_asked_twice(
    compressed, scenes, tmp_path, monkeypatch
):
    """Of 2 x 2 tokens a grid of at most 3 has 2: `random` is asked with 3, which was wanted, and with 2."""
    from sensorium.engine.torch import TorchEngine

    words = (scenes, "--budgets", 4, 3, "--methods", "random", "pool", "tome", "frames")
    found = compressed(*words)
    rows = {(row["method"], row["visual_tokens"]): row for row in found["rows"]}
    assert found["questions"] == 12 and list(rows) == [
        ("all of them", 4), ("random", 3), ("random", 2), ("pool", 2), ("tome", 3)
    ]  # fmt: skip
    for name in (("pool", 2), ("tome", 3)):
        expected = rows[name]["score"] - rows["random", name[1]]["score"]
        assert rows[name]["to_random"]["value"] == pytest.approx(expected)
    assert all(row["first_answer_ms"] > 0 for row in rows.values())
    assert all(row["to_random"] is None for (method, _), row in rows.items() if method in ("all of them", "random"))
    monkeypatch.setattr(TorchEngine, "answer", lambda *given: pytest.fail("was asked again"))
    monkeypatch.setattr(TorchEngine, "stream", lambda *given: pytest.fail("was timed again"))
    assert compressed(*words) == found and (tmp_path / "out" / "compression.md").read_text().count("\n") == 7


def test_what_is_asked_about_one_picture_counts_as_one_draw(monkeypatch):
    """Six pairs about three pictures, the second of each a copy of the first: the interval is that of three."""
    names = runpy.run_path(str(BENCHMARKS / "compression.py"))
    gains = [0.0, 50.0, 100.0]
    before = {str(number): (0.0, f"picture {number // 2}") for number in range(6)}
    after = {str(number): (gains[number // 2], f"picture {number // 2}") for number in range(6)}
    apart = {name: (worth, name) for name, (worth, _) in after.items()}
    found = names["_paired"](before, after)
    narrow = names["_paired"]({name: (0.0, name) for name in apart}, apart)
    assert found["value"] == narrow["value"] == 50 and found["high"] - found["low"] > 1.3 * (
        narrow["high"] - narrow["low"]
    )


@pytest.fixture
def films(film, tmp_path) -> Path:
    """Two films of a second that grow brighter, two questions about each."""
    from PIL import Image

    from sensorium.data.films.records import Film, FilmQuestion

    root = tmp_path / "films" / "test_seen"
    root.mkdir(parents=True)
    shown, asked = [], []
    for number in range(2):
        film(root / f"{number}.mp4", [Image.new("RGB", (64, 48), (20 * i, 200 * number, 60)) for i in range(8)], 8)
        shown.append(Film(f"film-{number}", f"{number}.mp4", 64, 48, 8, 1.0, 0, (), (), ()))
        for kind in ("card", "enters"):
            asked.append(FilmQuestion(f"film-{number}-{kind}", f"film-{number}", kind, "OCR Problems", "seen", "Which?",
                                      ("one", "two", "three", "four"), "A", ((0.0, 1.0),)))  # fmt: skip
    for name, rows in (("films", shown), ("questions", asked)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    (root.parent / "dataset.json").write_text(json.dumps({
        "format": "sensorium-conversations-1", "name": "two", "seed": 0, "fingerprint": "f",
        "splits": {"test_seen": {"films": 2}}, "vocabulary": ["cat", "dog"],
    }))  # fmt: skip
    return root.parent


def test_films_and_pictures_stand_in_one_table(compressed, scenes, films, tmp_path):
    words = ("--budgets", 2, "--methods", "random", "pool", "frames", "--frames")
    found = compressed(scenes, films, *words, 3)
    asked = [(row["asked"], row["method"]) for row in found["rows"]]
    of_scenes, of_films = "scenes-mme (of 200)", "films, 3 frames (of 100)"
    ways = ("all of them", "random", "pool")
    assert asked == [(of_scenes, way) for way in ways] + [(of_films, way) for way in (*ways, "frames")]
    rows = {row["method"]: row for row in found["rows"] if row["asked"] == of_films}
    assert rows["frames"]["to_random"]["value"] == pytest.approx(rows["frames"]["score"] - rows["random"]["score"])
    assert all(0 <= row["score"] <= 100 and row["first_answer_ms"] > 0 for row in rows.values())
    whole, fewer = (
        [json.loads(line) for line in (tmp_path / "out" / way / "videomme/replies.jsonl").read_text().splitlines()[1:]]
        for way in ("none", "frames-2")
    )
    spared = [a["n_prompt"] - b["n_prompt"] for a, b in zip(whole, fewer, strict=True)]
    assert spared == [3 * (4 - 2)] * 4 and found["questions"] == 12 + 4, "two of four are left of each frame"
    with pytest.raises(SensoriumError, match="videos"):
        compressed(films, *words, 2)
