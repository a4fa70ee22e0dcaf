"""Films beside pictures and text in one file of sources, and one stage that learns from all of them."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sensorium.conversation import Image
from sensorium.data.dataset import FORMAT, Dataset
from sensorium.data.defects import find_defects
from sensorium.data.films.records import Film
from sensorium.data.rewriters import Rewriter
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.rendering import Renderer
from sensorium.training.data import provenance
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.measure import mean_tokens, render_sample
from sensorium.training.preview import preview
from sensorium.training.recipe import Recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import SceneSamples, SourceSamples

TITLES = ("clips train", "tiny train", "talks.jsonl")


def quiet(what: str, done: int, total: int) -> None:
    pass


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def clips(tmp_path: Path, film: Any) -> Path:
    """A dataset folder of four films of a second, two conversations each; in `val` one film."""
    root, splits = tmp_path / "clips", {}
    for split, count in (("train", 4), ("val", 1)):
        (root / split / "videos").mkdir(parents=True)
        films, conversations = [], []
        for number in range(count):
            video = f"videos/{number}.mp4"
            film(root / split / video, [30 + 50 * number, 60 + 50 * number] * 5)
            films.append(Film(f"f{number}", video, 64, 48, 10, 1.0, 0, (), (), ()).to_json())
            for turn, words in enumerate(("What happens?", "Is it dark?")):
                content = [{"type": "video", "path": video, "frames": 3}, {"type": "text", "text": words}]
                said = [{"role": "user", "content": content}, {"role": "assistant", "content": "There is a cat."}]
                conversations.append({"id": f"f{number}-{turn}", "scene": f"f{number}", "task": "video",
                                      "messages": said})  # fmt: skip
        _rows(root / split / "films.jsonl", films)
        _rows(root / split / "conversations.jsonl", conversations)
        splits[split] = {"films": count, "conversations": len(conversations), "questions": 0}
    (root / "dataset.json").write_text(json.dumps({"format": FORMAT, "name": "clips", "splits": splits}))
    return root


@pytest.fixture
def mixed(clips: Path, tiny_data: Path, tmp_path: Path) -> Path:
    """Films, pictures and text, as two to one to one."""
    _rows(tmp_path / "talks.jsonl", [
        {"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": str(i)}]}
        for i in range(5)
    ])  # fmt: skip
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": [
        {"format": "sensorium", "path": "clips", "weight": 2},
        {"format": "sensorium", "path": str(tiny_data), "tasks": ["caption", "chat"], "weight": 1, "name": TITLES[1]},
        {"format": "messages", "path": "talks.jsonl", "weight": 1},
    ]}))  # fmt: skip
    return path


@pytest.fixture
def tree(tiny_recipe_tree: dict[str, Any], mixed: Path, own_cache: Path) -> dict[str, Any]:
    stage = tiny_recipe_tree["stages"][1] | {"samples": 24, "batch": {"max_tokens": 256, "max_samples": 4}}
    return tiny_recipe_tree | {"data": str(mixed), "stages": [stage]}


def test_films_pictures_and_text_have_their_shares_of_one_stage(tree, tmp_path):
    recipe = Recipe.model_validate(tree)
    [plan] = preview(recipe, 1, quiet)
    assert [(one.title, one.samples) for one in plan.sources] == [*zip(TITLES, (12, 6, 6), strict=True)]
    # Four visual tokens a picture, three frames a film.
    assert [one.visual_tokens for one in plan.sources] == [12 * 3 * 4, 6 * 4, 0] and plan.cache == 0
    train(recipe, tmp_path / "run", say=lambda line: None)
    steps = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    learned = sum((Counter(row["sources"]) for row in steps), Counter())
    assert learned == dict(zip(TITLES, (12, 6, 6), strict=True))
    assert any(len(row["sources"]) > 1 for row in steps), "one step learns from several"
    assert sum(row["samples"] for row in steps) == 24 and all(0 < row["loss"] < 20 for row in steps)
    assert not (tmp_path / "cache" / "features").exists()


def test_a_sample_of_a_film_shows_its_frames_with_their_times(mixed):
    samples = SourceSamples(load_sources(mixed), 24, 1)
    copy = pickle.loads(pickle.dumps(samples))
    assert copy.fingerprint() == samples.fingerprint()
    for number in range(len(samples)):
        [talk] = samples[number]
        assert copy[number] == [talk]
        n_frames = sum(isinstance(part, Image) for part in talk.conversation.messages[0].parts)
        assert n_frames == {0: 3, 1: 1, 2: 0}[samples.source(number)]
        if samples.source(number) == 0:
            assert "0:00" in talk.conversation.messages[0].text and "clips/train/conversations.jsonl row" in talk.where


def test_shares_of_tokens_count_the_frames_of_films(mixed, tiny_model):
    films, _, talks = load_sources(mixed).sources
    even = {"sources": (films.model_copy(update={"weight": 1}), talks), "shares": "tokens"}
    settings = load_sources(mixed).model_copy(update=even)
    tokens = mean_tokens(SourceSamples(settings.alone(), None, 1), Renderer.of(tiny_model))
    samples = SourceSamples(settings, 60, 1, tokens)
    of_films, of_talks = (sum(samples.source(i) == number for i in range(60)) for number in (0, 1))
    assert tokens[0] > tokens[1] + 3 * 4  # frames' visual tokens, and their times
    assert of_films * tokens[0] == pytest.approx(of_talks * tokens[1], abs=max(tokens))


def test_conversations_about_one_film_share_its_frames_and_lose_what_they_lose_apart(clips, tiny_model):
    def drawn(together: int) -> SceneSamples:
        return SceneSamples.of(Dataset(clips), "train", {"video": 1.0}, 8, 0, together)

    samples, renderer = drawn(3), Renderer.of(tiny_model)
    assert [len(samples[i]) for i in range(len(samples))] == [2, 2, 2, 2]
    for number in range(len(samples)):
        joined = render_sample(renderer, samples[number])
        apart = [render_sample(renderer, [talk]) for talk in samples[number]]
        assert len(joined.slots) == 3 and [len(one.slots) for one in apart] == [3, 3]
        assert len(joined) < sum(map(len, apart)) - 3 * 4  # frames' visual tokens, and their times
    objective, alone = (ReplyObjective(tiny_model, drawn(together)) for together in (3, 1))
    with torch.no_grad():
        lost = [one.loss(one.batch(range(len(one.samples)))) for one in (objective, alone)]
    assert float(lost[0].total) == pytest.approx(float(lost[1].total), rel=1e-4)


def test_features_of_films_are_not_kept_and_to_ask_for_them_is_refused(tree, mixed, clips, tmp_path):
    said = rf"stage align: cache_features: {mixed} shows films, .* not kept\. Leave `cache_features` out"
    asked = Recipe.model_validate(tree | {"stages": [tree["stages"][0] | {"cache_features": True}]})
    with pytest.raises(SensoriumError, match=said):
        preview(asked, 1, quiet)
    with pytest.raises(SensoriumError, match=said):
        train(asked, tmp_path / "run", say=lambda line: None)
    alone = asked.stages[0].model_copy(update={"data": clips, "tasks": {"video": 1.0}})
    with pytest.raises(SensoriumError, match=rf"cache_features: {clips} shows films"):
        preview(asked.model_copy(update={"stages": (alone,)}), 1, quiet)


def test_pictures_of_a_dataset_folder_among_sources_may_keep_theirs(tree, mixed, tmp_path, own_cache):
    content = yaml.safe_load(mixed.read_text())
    mixed.write_text(yaml.safe_dump({"sources": content["sources"][1:]}))
    stage = tree["stages"][0] | {"cache_features": True, "samples": 8}
    train(Recipe.model_validate(tree | {"stages": [stage]}), tmp_path / "run", say=lambda line: None)
    assert list((own_cache / "features").glob("*/states.npy"))


def test_a_film_that_does_not_open_is_named_by_row_and_counted(tree, mixed, clips, tmp_path):
    (clips / "train" / "videos" / "2.mp4").write_bytes(b"no film")
    source = load_sources(mixed).sources[0]
    found = find_defects(source.open(), source.title, Rewriter())
    assert (found.samples, found.bad, len(found.reasons)) == (8, 2, 1)
    assert "conversations.jsonl row 5: video 1 (" in found.listed[0] and "2.mp4" in found.listed[0]
    recipe = Recipe.model_validate(tree)
    mixture = SourceSamples(load_sources(mixed), 24, recipe.seed * 1000).mixture
    bad = sum(mixture[place] in ((0, 4), (0, 5)) for place in range(24))  # the third film's rows
    with pytest.raises(SensoriumError, match=rf"{bad} of 24 samples cannot be used .* row [56]: video \(.*2\.mp4\)"):
        preview(recipe, 1, quiet)
    mixed.write_text(mixed.read_text() + "max_bad_rows: 0.2\n")
    [plan] = preview(recipe, 1, quiet)
    assert [(one.samples, one.dropped.total()) for one in plan.sources] == [(12 - bad, bad), (6, 0), (6, 0)]


def test_films_may_be_validated_on_by_sources_of_their_own(tree, mixed, tmp_path):
    (tmp_path / "val.yaml").write_text("sources: [{format: sensorium, path: clips, split: val}]")
    recipe = Recipe.model_validate(tree | {"validation": str(tmp_path / "val.yaml"), "validation_samples": 2})
    train(recipe, tmp_path / "run", say=lambda line: None)
    assert any("validation" in row for row in read_journal(tmp_path / "run" / "journal.jsonl"))


def test_another_dataset_in_the_same_place_is_other_data(tree, clips):
    before = provenance(Recipe.model_validate(tree))
    with (clips / "train" / "conversations.jsonl").open("a") as file:
        file.write("\n")
    assert provenance(Recipe.model_validate(tree))["rows"] != before["rows"]


@pytest.mark.parametrize(("source", "said"), [
    ("{format: sensorium, path: clips, split: trian}", "split 'trian': is not there. Did you mean `train`"),
    ("{format: sensorium, path: clips, tasks: [caption]}", "holds no conversation of caption. Build the dataset with"),
    ("{format: sensorium, path: clips, tasks: [vidoe]}", "there is no task `vidoe`. Did you mean `video`"),
    ("{format: sensorium, path: clips, images: x}", "a dataset folder holds its own pictures and films"),
    ("{format: sensorium, path: talks.jsonl}", "is a file, not a dataset folder"),
    ("{format: sensorium, path: clips/train}", "this is not a finished dataset folder"),
])
def test_a_wrong_source_of_ours_is_explained(mixed, source, said):
    mixed.write_text(f"sources: [{source}]")
    with pytest.raises(SensoriumError) as found:
        load_sources(mixed).sources[0].open()
    assert said in str(found.value)
