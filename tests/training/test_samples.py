"""Other people's data in training: three formats in one mixture, what is bad counted, resumed as if never broken."""

from __future__ import annotations

import json
import pickle
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.rendering import Renderer
from sensorium.training import data
from sensorium.training import measure as measuring
from sensorium.training.checkpoint import load_latest
from sensorium.training.describe import describe
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.measure import contribution_table, contributions, mean_tokens, measure
from sensorium.training.packing import PackConfig, plan_packs
from sensorium.training.preview import preview
from sensorium.training.recipe import Recipe
from sensorium.training.samples import SourceSamples


@pytest.fixture
def folder(three_formats: Path) -> Path:
    return three_formats


def write_sources(folder: Path, **more: Any) -> Path:
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": yaml.safe_load(path.read_text())["sources"], **more}))
    return path


@pytest.fixture
def renderer(tiny_model) -> Renderer:
    return Renderer(tiny_model.tokenizer, tiny_model.tokens_per_picture)


@pytest.fixture
def tree(tiny_recipe_tree, folder, own_cache) -> dict[str, Any]:
    stage = tiny_recipe_tree["stages"][1] | {"batch": {"max_tokens": 256}}
    del stage["samples"]
    more = {"data": str(folder / "sources.yaml"), "stages": [stage, stage | {"name": "again", "samples": 60}]}
    return tiny_recipe_tree | more


def samples_of(folder: Path, samples: int | None = None, **more: Any) -> SourceSamples:
    return SourceSamples(load_sources(write_sources(folder, **more)), samples, seed=1)


def quiet(what: str, done: int, total: int) -> None:
    pass


def test_a_mixture_gives_each_source_what_it_asks_for_and_says_so(folder, renderer, own_cache):
    samples = samples_of(folder)
    found = measure(samples, renderer, quiet)
    plan = plan_packs(found.sizes, PackConfig(max_tokens=256), 0)
    table = contributions(samples, found, plan)
    assert [(one.title, one.samples, one.dropped.total()) for one in table] == [
        ("mix.json", 12, 0), ("talks.jsonl", 8, 0), ("captions.csv", 24, 0)]
    assert [one.visual_tokens for one in table] == [12 * 4, 0, 24 * 4]  # four visual tokens a picture
    for number, text in enumerate(found.sizes.text):
        [talk] = samples[number]
        assert text == len(renderer.render(talk.conversation)) - found.sizes.visual[number]
    lines = contribution_table(table)
    assert lines[0].split() == ["source", "samples", "text", "tokens", "visual", "tokens", "dropped"]
    assert lines[1].split() == ["mix.json", "12", f"{table[0].text_tokens:,}", "48", "0"]


def test_the_second_pass_over_annotations_words_them_anew(folder):
    samples = samples_of(folder)
    said: dict[str, set[str]] = {}
    for number in range(len(samples)):
        [talk] = samples[number]
        said.setdefault(talk.id, set()).add(json.dumps(talk.conversation.to_json()))
    assert len([1 for id, words in said.items() if id.startswith("captions.csv") and len(words) == 2]) > 6


def test_a_copy_in_another_process_reads_the_same(folder, renderer):
    samples = samples_of(folder, 70)
    copy, there = pickle.loads(pickle.dumps((samples, renderer)))
    assert copy.fingerprint() == samples.fingerprint()
    for number in range(70):
        [one], [other] = samples[number], copy[number]
        assert one == other and there.render(other.conversation).ids == renderer.render(one.conversation).ids


def test_measures_are_the_same_from_several_processes_and_from_the_cache(folder, renderer, own_cache, monkeypatch):
    one = measuring._measured(samples_of(folder), renderer, quiet)
    monkeypatch.setattr(measuring, "PARALLEL_FROM", 1)
    monkeypatch.setattr(measuring, "_BLOCK", 5)
    told = []
    found = measure(samples_of(folder), renderer, lambda *what: told.append(what))
    assert found.sizes.text.tolist() == one.sizes.text.tolist() and told[-1] == ("measuring samples", 44, 44)
    monkeypatch.setattr(measuring, "_all", None)  # the second time nothing is measured
    assert measure(samples_of(folder), renderer, quiet).sizes.visual.tolist() == one.sizes.visual.tolist()


def test_what_changed_is_measured_anew(folder, renderer, own_cache):
    before = measure(samples_of(folder), renderer, quiet).sizes.whole.sum()
    text = (folder / "captions.csv").read_text()
    (folder / "captions.csv").write_text(text.replace("square", "square of no great size"))
    assert measure(samples_of(folder), renderer, quiet).sizes.whole.sum() > before


def test_bad_samples_are_counted_by_reason_and_too_many_stop_the_run(folder, renderer, own_cache):
    (folder / "pictures" / "3.png").unlink()
    (folder / "pictures" / "5.png").write_bytes(b"no picture")
    allowed = samples_of(folder, max_bad_rows=0.2)
    found = measure(allowed, renderer, quiet)
    assert len(found.dropped) == 2 + 4 and all(found.sizes.whole[i] == 0 for i in found.dropped)
    plan = plan_packs(found.sizes, PackConfig(max_tokens=256), 0)
    mix, talks, captions = contributions(allowed, found, plan)
    assert (mix.samples, mix.dropped.total()) == (10, 2) and (captions.samples, captions.dropped.total()) == (20, 4)
    assert talks.dropped.total() == 0 and any("2 dropped" in line for line in contribution_table([captions]))
    with pytest.raises(SensoriumError, match=r"6 of 44 samples cannot be used \(13.6%; allowed are 1.0%\): .*3.png"):
        measure(samples_of(folder), renderer, quiet)


def test_annotations_left_out_are_counted_beside_the_samples(folder, renderer, own_cache):
    """One box outside its picture: the sample keeps its other box, and the table says what is missing."""
    image = {"id": 1, "file_name": "0.png", "width": 40, "height": 30}
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 10, 10], "iscrowd": 0},
             {"id": 2, "image_id": 1, "category_id": 1, "bbox": [90, 90, 10, 10], "iscrowd": 0}]
    content = {"images": [image], "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    path = folder / "coco.yaml"
    path.write_text("sources: [{format: coco, path: instances.json, images: pictures}]\n")
    samples = SourceSamples(load_sources(path), None, seed=1)
    found = measure(samples, renderer, quiet)
    [one] = contributions(samples, found, plan_packs(found.sizes, PackConfig(), 0))
    assert (one.samples, one.dropped.total(), one.left_out.total()) == (1, 0, 1)
    assert any("1 annotations left out: " in line and "outside" in line for line in contribution_table([one]))
    assert measure(samples, renderer, quiet).faults == found.faults  # from the cache


def with_faults(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One stage over captions and boxes: a caption without its picture, one that is too long, a box left out."""
    image = {"id": 1, "file_name": "0.png", "width": 40, "height": 30}
    boxes = [{"id": i, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0}
             for i, box in enumerate([[2, 2, 10, 10], [90, 90, 10, 10]])]
    content = {"images": [image], "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    with (folder / "captions.csv").open("a") as file:
        file.write(f"nowhere.png,A square\n1.png,{'A very long caption. ' * 60}\n")
    sources = [{"format": "csv", "path": "captions.csv", "images": "pictures"},
               {"format": "coco", "path": "instances.json", "images": "pictures"}]
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": sources, "max_bad_rows": 0.2}))
    stage = tree["stages"][0] | {"batch": {"max_tokens": 256, "too_long": "drop"}}
    return tree | {"stages": [stage]}


def test_what_was_dropped_and_left_out_stands_in_the_journal_by_reason(tree, folder, tmp_path):
    _run(with_faults(tree, folder), tmp_path / "run")
    [captions, boxes] = read_journal(tmp_path / "run" / "journal.jsonl")[0]["sources"]
    assert (captions["samples"], sorted(captions["dropped"].values()), captions["left_out"]) == (12, [1, 1], {})
    assert any("longer than the language model reads" in why for why in captions["dropped"])
    assert (boxes["samples"], boxes["dropped"], list(boxes["left_out"].values())) == (1, {}, [1])


@pytest.mark.parametrize("policy", ["alone", "drop"])
def test_what_is_longer_than_the_language_model_reads_is_dropped_counted_and_planned_so(tree, folder, tmp_path, policy):
    """512 positions: the last talk is over the budget only, the one before it over what can be read."""
    talks = [[{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "it " * n}] for n in (2, 3, 900)]
    talks.append([{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "it " * 130}])
    (folder / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    (folder / "sources.yaml").write_text("sources: [{format: messages, path: talks.jsonl}]\n")
    tree["stages"] = [tree["stages"][0] | {"batch": {"max_tokens": 256, "too_long": policy}}]
    recipe = Recipe.model_validate(tree | {"validation": str(folder / "sources.yaml"), "validation_samples": 4})
    [plan] = preview(recipe, 1, quiet)
    lines: list[str] = []
    train(recipe, tmp_path / "run", say=lines.append)
    first, *rows = read_journal(tmp_path / "run" / "journal.jsonl")
    [source] = first["sources"]
    reasons = {"is longer than the language model reads": 1} | (
        {"is longer than the batch budget": 1} if policy == "drop" else {})
    assert {why.rstrip("."): count for why, count in source["dropped"].items()} == reasons
    assert source["samples"] == sum(row["samples"] for row in rows if "loss" in row) == 4 - len(reasons)
    assert any("validation" in row for row in rows) and first["validation_too_long"] == plan.validation_too_long == 1
    assert [one.to_json() for one in plan.sources] == first["sources"]
    said = list(describe([plan], recipe, 1))
    assert any("1 dropped: is longer than the language model reads" in line for line in said)
    assert any("leave out 1 samples longer" in line for line in said)
    assert any("1 samples of the validation are longer" in line for line in lines)


def test_what_was_missing_is_looked_for_again(folder, renderer, own_cache):
    picture = (folder / "pictures" / "3.png").read_bytes()
    (folder / "pictures" / "3.png").unlink()
    with pytest.raises(SensoriumError, match="3 of 44 samples cannot be used"):
        measure(samples_of(folder), renderer, quiet)
    assert len(measure(samples_of(folder, max_bad_rows=0.2), renderer, quiet).dropped) == 3
    (folder / "pictures" / "3.png").write_bytes(picture)
    again = measure(samples_of(folder, max_bad_rows=0.2), renderer, quiet)
    assert not again.dropped and (again.sizes.whole > 0).all()


def test_token_shares_take_more_samples_of_short_ones(folder, renderer):
    settings = load_sources(write_sources(folder, shares="tokens"))
    sources = [source.model_copy(update={"epochs": None, "weight": 1.0}) for source in settings.sources]
    settings = settings.model_copy(update={"sources": tuple(sources)})
    mean = mean_tokens(SourceSamples(settings.alone(), None, 0), renderer)
    samples = SourceSamples(settings, 300, 0, mean)
    counts = [sum(samples.source(i) == number for i in range(300)) for number in range(3)]
    tokens = [count * one for count, one in zip(counts, mean, strict=True)]
    assert sum(counts) == 300 and max(tokens) / min(tokens) < 1.05 and counts[1] > 1.1 * counts[0]


def _run(tree: dict[str, Any], run: Path) -> list[str]:
    lines: list[str] = []
    train(Recipe.model_validate(tree), run, say=lines.append)
    return lines


def test_a_recipe_over_three_formats_is_killed_interrupted_resumed_and_ends_the_same(
    tree, tmp_path, monkeypatch, training_process
):
    from sensorium.training import loop

    lines = _run(tree, tmp_path / "whole")
    assert any(line.startswith("captions.csv") and " 24 " in line for line in lines)
    begins = [row for row in read_journal(tmp_path / "whole" / "journal.jsonl") if row["step"] == 0]
    assert [(row["stage"], [one["samples"] for one in row["sources"]]) for row in begins] == [
        ("align", [12, 8, 24]), ("again", [22, 14, 24])]
    assert begins[0]["fill"] > 0.8
    real, calls = loop.train_step, []

    def stopped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) in (3, len(begins) + 12):
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    process = training_process(tree | {"checkpoint_minutes": 0}, tmp_path / "run", kill_at=4)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL and load_latest(tmp_path / "run" / "checkpoints")["step"] == 3
    monkeypatch.setattr(loop, "train_step", stopped)
    while not (tmp_path / "run" / "model").exists():
        _run(tree, tmp_path / "run")
    assert len(calls) > 14
    one, other = (load_latest(tmp_path / name / "checkpoints") for name in ("run", "whole"))
    assert one["step"] == other["step"] and one["plan"] == other["plan"]
    weights = [(tmp_path / name / "model" / "trained.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    journals = [[(r["stage"], r["step"], r.get("loss")) for r in read_journal(tmp_path / name / "journal.jsonl")]
                for name in ("run", "whole")]
    assert journals[0] == journals[1]


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sensorium.training import loop
from sensorium.training.recipe import Recipe
real, calls = loop.train_step, []
def step(*args):
    calls.append(1)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
loop.train_step = step
loop.train(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), say=lambda line: None)
"""


def test_a_recipe_over_three_formats_is_killed_resumed_and_ends_with_the_same_weights(tree, tmp_path):
    """kill -9 in any step after the first checkpoint, which is that of the first stage's end: whatever was done since
    is done again. Another step is killed each time the test runs.
    """
    _run(tree, tmp_path / "whole")
    steps = [row["stage"] for row in read_journal(tmp_path / "whole" / "journal.jsonl") if "loss" in row]
    at = random.randint(steps.count("align") + 1, len(steps))
    command = [sys.executable, "-c", _KILLED, json.dumps(tree), str(tmp_path / "run"), str(at)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    saved = load_latest(tmp_path / "run" / "checkpoints")
    assert saved["step"] == steps.count("align") and not (tmp_path / "run" / "model").exists(), at
    _run(tree, tmp_path / "run")
    one, other = (load_latest(tmp_path / name / "checkpoints") for name in ("run", "whole"))
    assert one["step"] == other["step"] == len(steps) and one["plan"] == other["plan"], at
    for kind in ("model", "optimizer"):
        assert one[kind].keys() == other[kind].keys()
        assert all(torch.equal(tensor, other[kind][name]) for name, tensor in one[kind].items()), at
    weights = [(tmp_path / name / "model" / "trained.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1], at


def test_a_picture_damaged_behind_its_header_costs_its_sample_and_no_other(tree, folder, tmp_path, caplog):
    path = folder / "pictures" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    write_sources(folder, max_bad_rows=0.2)
    lines = _run(tree, tmp_path / "run")
    seen = sum(row["samples"] for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["stage"] == "align"
               and "loss" in row)
    assert seen == 44 - 3 and "3.png" in caplog.text
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["stage"] == "align"]
    assert all(sum(row["sources"].values()) == row["samples"] for row in rows if "loss" in row)
    lost = Counter[str]()
    for row in rows:
        lost.update(row.get("lost_sources", {}))
        assert sum(row.get("lost_sources", {}).values()) == row.get("lost", 0)
    assert lost == {"mix.json": 1, "captions.csv": 2}  # one picture, a question about it and two passes of captions
    [end] = [row["contributed"] for row in rows if "contributed" in row]
    assert [(one["samples"], one["dropped"]) for one in end] == [
        (11, {"could not be read while training.": 1}), (8, {}), (22, {"could not be read while training.": 2})]
    assert sum(one["text_tokens"] + one["visual_tokens"] for one in end) == sum(row.get("tokens", 0) for row in rows)
    assert lines.index("align has learned from") > 0 and any("2 dropped: could not be read" in line for line in lines)
    write_sources(folder, max_bad_rows=0.02)
    with pytest.raises(SensoriumError, match=r"\d of 44 samples cannot be used.* \d of them turned out to be damaged"):
        _run(tree, tmp_path / "strict")


def _cached(tree: dict[str, Any], *stages: dict[str, Any]) -> dict[str, Any]:
    return tree | {"stages": [stage | {"cache_features": True} for stage in stages or tree["stages"]]}


def test_sources_may_keep_features_of_a_frozen_encoder(tree, folder, tmp_path, own_cache, monkeypatch):
    """Of twelve pictures, four of them unlike in size only by a column: what is learned is the same but for 16 bits."""
    from sensorium.model.vision import VisionEncoder

    _run(tree, tmp_path / "pixels")
    seen: list[int] = []
    real = VisionEncoder.stem_states

    def counted(self: VisionEncoder, pixels: Any) -> Any:
        seen.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(VisionEncoder, "stem_states", counted)
    [plan, _] = preview(Recipe.model_validate(_cached(tree)), 1, quiet)
    _run(_cached(tree), tmp_path / "features")
    assert sum(seen) == 12  # each picture once, for both stages
    assert plan.cache == (12 + 24) * 16 * 32 * 2  # at most: the captions show the pictures of the talks again
    [losses, others] = [[row["loss"] for row in read_journal(tmp_path / name / "journal.jsonl") if "loss" in row]
                        for name in ("pixels", "features")]
    assert others == pytest.approx(losses, rel=1e-3) and others != losses


def test_a_damaged_picture_costs_the_same_samples_where_features_are_kept(tree, folder, tmp_path, caplog):
    path = folder / "pictures" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    write_sources(folder, max_bad_rows=0.2)
    _run(_cached(tree, tree["stages"][0]), tmp_path / "run")
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert sum(row["samples"] for row in rows) == 44 - 3 and sum(row.get("lost", 0) for row in rows) == 3
    assert "mix.json row 4: picture 1 (" in caplog.text


def test_features_of_an_encoder_that_trains_are_refused(tree, tmp_path):
    tree["model"]["vision"] |= {"layer": 2, "tail_blocks": 0}
    stage = tree["stages"][0] | {"learning_rates": {"vision": 1e-3, "connector": 1e-3}}
    with pytest.raises(SensoriumError, match=r"stage align: cache_features: the vision stem trains"):
        _run(_cached(tree, stage), tmp_path / "run")
    with pytest.raises(SensoriumError, match=r"stage align: cache_features: the vision stem trains"):
        preview(Recipe.model_validate(_cached(tree, stage)), 1, quiet)


def test_a_sample_that_is_too_long_is_named_by_file_and_row(tree, folder, tmp_path):
    with (folder / "captions.csv").open("a") as file:
        file.write(f"1.png,{'A long caption. ' * 60}\n")
    for act in (lambda: _run(tree, tmp_path / "run"), lambda: preview(Recipe.model_validate(tree), 1, quiet)):
        with pytest.raises(SensoriumError, match=r"captions.csv line 14: its \d+ tokens of text and 4 visual tokens"):
            act()


def test_a_damaged_picture_alone_in_its_pack_does_not_stop_the_run(tree, folder, tmp_path):
    path = folder / "pictures" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    write_sources(folder, max_bad_rows=0.2)
    tree["stages"] = [tree["stages"][0] | {"batch": {"max_tokens": 256, "max_samples": 1}, "accumulate": 4}]
    _run(tree, tmp_path / "run")
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert len(rows) == 11 and sum(row["samples"] for row in rows) == 44 - 3


@pytest.mark.parametrize("of_stage", [False, True])
def test_a_finished_run_tells_that_its_data_has_changed(tree, folder, tmp_path, tiny_data, of_stage):
    tree["stages"] = [tree["stages"][0]]
    if of_stage:
        tree["stages"][0] |= {"data": tree["data"]}
        tree["data"] = str(tiny_data)
    _run(tree, tmp_path / "run")
    assert _run(tree, tmp_path / "run") == []  # the same data: the model is there
    talks = folder / "talks.jsonl"
    before = talks.read_bytes()
    talks.write_bytes(before.replace(b"a", b"b", 1))  # the file that names the sources says nothing of it
    with pytest.raises(SensoriumError, match=r"sources.yaml: has changed since the model in .*run was trained on it"):
        _run(tree, tmp_path / "run")
    talks.write_bytes(before)  # the same words at another time, as on another machine
    assert _run(tree, tmp_path / "run") == []
    path = write_sources(folder, max_bad_rows=0.2)
    with pytest.raises(SensoriumError, match=r"sources.yaml: has changed since the model in .*run was trained on it"):
        _run(tree, tmp_path / "run")
    with pytest.raises(SensoriumError, match=r"sources.yaml: has changed since"):
        preview(Recipe.model_validate(tree), 1, quiet, tmp_path / "run")
    path.unlink()
    _run(tree, tmp_path / "run")  # data that is gone does not take the model with it


@pytest.mark.parametrize("size", [0, 10, (1 << 16) + 1, 1 << 20, 3 << 20])
def test_a_byte_changed_in_a_megabyte_and_pieces_throughout_a_larger_file_are_seen(tmp_path, size):
    path, places = tmp_path / "rows.json", sorted({0, size // 2, size - 1} if size <= 1 << 20 else {0, 65535, size - 1})
    path.write_bytes(bytes(size))
    before = data._content_mark(path)
    for place in places if size else ():
        changed = bytearray(size)
        changed[place] = 1
        path.write_bytes(changed)
        assert data._content_mark(path) != before
    path.write_bytes(bytes(size + 1))
    assert data._content_mark(path) != before


@pytest.mark.parametrize(("change", "message"), [
    ({"tasks": {"caption": 1.0}}, "`tasks` and `together` are for dataset folders"),
    ({"objective": "words"}, "the word warm-up needs scenes"),
])
def test_what_needs_a_dataset_folder_is_refused_for_sources(tree, tmp_path, change, message):
    tree["stages"] = [tree["stages"][0] | change]
    with pytest.raises(SensoriumError, match=message):
        _run(tree, tmp_path / "run")


def test_a_run_over_sources_may_validate_on_sources_of_its_own(tree, folder, tmp_path):
    _run(tree | {"validation": str(folder / "sources.yaml"), "validation_samples": 10}, tmp_path / "run")
    assert any("validation" in row for row in read_journal(tmp_path / "run" / "journal.jsonl"))
