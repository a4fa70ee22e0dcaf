"""The word warm-up: which token is whose, worked out by hand; and a model that learns them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sensorium.data.dataset import Dataset, Scene, SceneObject
from sensorium.data.records import COLOURS
from sensorium.errors import SensoriumError
from sensorium.grounding import Box
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.training.features import build_feature_cache
from sensorium.training.words import NUMBERS, WordObjective, token_cells, token_labels, word_embeddings

INDEX = {"background": 0, "cat": 1, "dog": 2}
_, B, C, D = None, 0, 1, 2  # background, cat, dog
I = -1  # noqa: E741 (nobody's)


def scene(*objects: tuple[str, tuple[int, int, int, int], str | None]) -> Scene:
    things = tuple(SceneObject(name, Box(*box), colour, "d", "s") for name, box, colour in objects)
    return Scene("s", "s.png", 100, 100, "plain", things)


def _cells(rows: int, columns: int) -> np.ndarray:
    """Of one view of the whole picture, in reading order."""
    return np.array([(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
                     for row in range(rows) for column in range(columns)])


def _names(made: Scene, grid: tuple[int, int] = (4, 4)) -> list[list[int]]:
    return token_labels(made, _cells(*grid), INDEX).names.reshape(grid).tolist()


def test_an_empty_scene_is_background():
    labels = token_labels(scene(), _cells(2, 2), INDEX)
    assert labels.names.tolist() == [0] * 4 and labels.colours.tolist() == labels.counts.tolist() == [-1] * 4


def test_cells_belong_to_the_box_that_covers_them():
    """Cells are 250 thousandths wide. The box covers the two middle columns of the upper half."""
    assert _names(scene(("cat", (250, 0, 749, 499), None))) == [[B, C, C, B], [B, C, C, B], [B] * 4, [B] * 4]


def test_more_than_a_third_names_a_tenth_to_a_third_is_nobodys_and_less_is_background():
    # 350 = 250 + 100: the second column is covered to 40 %, with rows in full.
    assert _names(scene(("cat", (0, 0, 349, 999), None)))[0] == [C, C, B, B]
    # 325 = 250 + 75: 30 %.
    assert _names(scene(("cat", (0, 0, 324, 999), None)))[0] == [C, I, B, B]
    # 260 = 250 + 10: 4 %.
    assert _names(scene(("cat", (0, 0, 259, 999), None)))[0] == [C, B, B, B]


def test_shares_of_rows_and_columns_multiply():
    # 50 % by 50 % is 25 %: nobody's; 60 % by 60 % is 36 %: the cat's.
    assert _names(scene(("cat", (0, 0, 124, 124), None)))[0][0] == I
    assert _names(scene(("cat", (0, 0, 149, 149), None)))[0][0] == C


def test_the_smaller_thing_is_in_front_whatever_the_order():
    large, small = ("dog", (0, 0, 999, 999), "red"), ("cat", (250, 250, 499, 499), None)
    expected = [[D, D, D, D], [D, C, D, D], [D, D, D, D], [D, D, D, D]]
    assert _names(scene(large, small)) == _names(scene(small, large)) == expected


def test_colours_stand_where_names_do_and_only_where_known():
    made = scene(("dog", (0, 0, 999, 499), "blue"), ("cat", (0, 0, 499, 499), None), ("cat", (0, 500, 499, 999), "x"))
    labels = token_labels(made, _cells(2, 2), INDEX)
    assert labels.names.tolist() == [C, D, C, B]
    assert labels.colours.tolist() == [I, COLOURS.index("blue"), I, I]


def test_counts_are_of_the_name_and_places_of_the_thing():
    cats = ("cat", (0, 0, 499, 499), None), ("cat", (500, 500, 999, 999), None)
    made = scene(*cats, ("dog", (500, 0, 999, 499), None))
    labels = token_labels(made, _cells(2, 2), INDEX)
    assert labels.names.tolist() == [C, D, B, C]
    assert [NUMBERS[n] if n >= 0 else None for n in labels.counts] == ["two", "one", None, "two"]
    # Middles at a quarter and at three quarters: half of the way to a rim.
    expected = [[-0.5, -0.5], [0.5, -0.5], [0, 0], [0.5, 0.5]]
    torch.testing.assert_close(labels.places[:, :2], torch.tensor(expected), atol=2e-3, rtol=0)


def test_a_place_is_nothing_in_the_middle_and_everything_at_the_rim():
    labels = token_labels(scene(("cat", (0, 400, 9, 599), None)), _cells(5, 100), INDEX)
    across, down, *_ = labels.places[200].tolist()
    assert across == pytest.approx(-0.99, abs=0.01) and down == pytest.approx(0, abs=0.01)


def test_width_and_height_are_nothing_at_three_tenths_and_everything_from_twice_that_on():
    made = scene(("cat", (0, 0, 299, 299), None), ("dog", (400, 850, 999, 999), None))
    labels = token_labels(made, _cells(10, 10), INDEX)
    cat, dog = (labels.places[labels.names == name][0, 2:].tolist() for name in (1, 2))
    assert cat == pytest.approx([0, 0], abs=5e-3) and dog == pytest.approx([1, -0.5], abs=5e-3)
    wide = token_labels(scene(("cat", (0, 0, 999, 999), None)), _cells(2, 2), INDEX)
    assert (wide.places[:, 2:] == 1).all()


def test_more_of_a_name_than_there_are_words_for_have_no_count():
    made = scene(*(("cat", (i * 100, 0, i * 100 + 99, 999), None) for i in range(9)))
    assert set(token_labels(made, _cells(1, 10), INDEX).counts.tolist()) == {I}


def test_a_thing_without_a_name_in_the_vocabulary_is_nobodys_and_not_background():
    assert _names(scene(("axolotl", (0, 0, 499, 999), None)), (1, 2)) == [[I, B]]


def test_tiles_are_labelled_by_the_part_of_the_picture_that_each_shows():
    """Two tiles side by side of 2 x 2 tokens, and the whole: the cat fills the lower right quarter of the picture."""
    sight = Sight(ViewsConfig(tiles={"scheme": "internvl", "max_tiles": 2}), 28, 14)
    made = scene(("cat", (500, 500, 999, 999), None))
    cells = token_cells(sight, (56, 28))
    left, right, whole = token_labels(made, cells, INDEX).names.reshape(3, 4).tolist()
    assert (left, right, whole) == ([B, B, B, B], [B, B, C, C], [B, B, B, C])


def test_a_token_on_the_ground_around_a_picture_is_nobodys():
    """A picture twice as wide as high, padded to a square of 4 x 4 tokens: rows 0 and 3 are ground."""
    cells = token_cells(Sight(ViewsConfig(fit="pad"), 56, 14), (100, 50))
    names = token_labels(scene(("dog", (0, 0, 499, 999), None)), cells, INDEX).names.reshape(4, 4).tolist()
    assert names == [[I] * 4, [D, D, B, B], [D, D, B, B], [I] * 4]


def test_rows_and_columns_are_not_confused():
    assert _names(scene(("cat", (0, 500, 999, 999), None)), (2, 3)) == [[B] * 3, [C] * 3]


def test_a_word_is_the_mean_of_its_tokens_embeddings_inside_a_sentence(tiny_model):
    table = tiny_model.language.get_input_embeddings().weight.detach()
    for word in ("cat", "zebra crossing"):
        ids = tiny_model.tokenizer.encode(f"a {word}", add_special_tokens=False)[1:]
        torch.testing.assert_close(word_embeddings(tiny_model, [word])[0], table[ids].mean(0))


@pytest.fixture
def objective(tiny_model, tiny_data, own_cache) -> WordObjective:
    tiny_model.requires_grad_(False)
    data = Dataset(tiny_data)
    scenes = data.scenes("train")
    cache = build_feature_cache(tiny_model, [s.image for s in scenes])
    return WordObjective(tiny_model, scenes, cache, 36, 0, data.info["vocabulary"])


def test_samples_are_whole_passes_over_the_scenes(objective):
    assert objective.sizes.text.tolist() == [0] * 36 and objective.sizes.visual.tolist() == [4] * 36
    assert sorted(objective.rows[:18]) == sorted(objective.rows[18:]) == list(range(18))


def test_a_batch_holds_states_and_targets_in_the_order_asked_for(objective):
    batch = objective.batch([3, 0])
    assert batch.stem_states.shape == (2, 17, 32) and batch.labels.places.shape == (2, 4, 4)
    for row, i in enumerate([3, 0]):
        made = objective.scenes[int(objective.rows[i])]
        labels = token_labels(made, _cells(2, 2), objective.batch.index)
        for field in fields(labels):
            assert torch.equal(getattr(batch.labels, field.name)[row], getattr(labels, field.name))
        assert torch.equal(batch.stem_states[row], objective.batch.cache.get([made.image])[0])
        # One square in one of four quarters.
        assert sorted(labels.names.tolist()) == [0, 0, 0, objective.batch.index[made.objects[0].name]]


def test_a_batch_of_no_samples_weighs_nothing(objective):
    loss = objective.loss(objective.batch([]))
    assert (loss.weight, loss.samples, loss.tokens) == (0, 0, 0) and float(loss.total.detach()) == 0


def test_a_batch_without_a_target_is_named(objective):
    """A thing without a name that covers the whole picture: a mean over its tokens would be 0 / 0."""
    nameless = scene(("axolotl", (0, 0, 999, 999), None))
    objective.batch.scenes = [replace(nameless, image=made.image) for made in objective.scenes]
    with pytest.raises(SensoriumError, match="scenes s, s: share a batch in which no visual token"):
        objective.batch([0, 1])


def test_the_loss_is_what_its_parts_add_up_to(objective):
    """Token by token, in plain Python, from the rule in the module's docstring."""
    batch = objective.batch(range(6))
    with torch.no_grad():
        loss = objective.loss(batch)
        visual = objective.model.visual_tokens(None, batch.stem_states).flatten(0, 1)
    def entropy(tokens, words, target):
        scores = F.cosine_similarity(tokens[None], word_embeddings(objective.model, words)) / 0.04
        return float(torch.logsumexp(scores, 0) - scores[target])

    def unit(word):
        return F.normalize(word_embeddings(objective.model, [word])[0], dim=0)

    norm = objective.model.language.get_input_embeddings().weight.norm(dim=-1).mean()
    total, weight, cosines, labels = 0.0, 0.0, [], batch.labels
    ways = ("left", "right"), ("top", "bottom"), ("narrow", "wide"), ("short", "tall")
    rows = zip(labels.names.flatten(), labels.colours.flatten(), labels.counts.flatten(), labels.places.flatten(0, 1),
               strict=True)
    for token, (name, colour, count, place) in zip(visual, rows, strict=True):
        if name < 0:
            continue
        share = 0.2 if name == 0 else 1.0
        total += share * entropy(token, objective.vocabulary, name)
        total += 0.1 * float((token.norm() / norm - 1) ** 2)
        words = unit(objective.vocabulary[name])
        if colour >= 0:
            total += 0.3 * entropy(token, COLOURS, colour)
            words = words + unit(COLOURS[colour])
        if count >= 0:
            total += 0.3 * entropy(token, NUMBERS, count)
            words = words + unit(NUMBERS[count])
        for (low, high), way in zip(ways, place, strict=True):
            words = words + 1.5 * float(way) * F.normalize(unit(high) - unit(low), dim=0)
        cosine = float(F.cosine_similarity(token, words, dim=0))
        total += share * 4 * (1 - cosine)
        cosines += [cosine] if name > 0 else []
        weight += share
    assert float(loss.total) == pytest.approx(total, rel=1e-4)
    assert loss.weight == pytest.approx(weight) and (loss.samples, loss.tokens) == (6, 24)
    assert loss.metrics["named_right"][1] == 6 and loss.metrics["background_right"][1] == 18
    assert loss.metrics["colour_right"][1] == loss.metrics["count_right"][1] == 6
    assert loss.metrics["place_right"][1] == 12  # left or right, and top or bottom: every square fills a quarter
    assert loss.metrics["cosine"] == (pytest.approx(sum(cosines), rel=1e-4), 6)


def test_a_model_learns_the_names(objective):
    model = objective.model
    parameters = [*model.connector.parameters(), *model.vision.tail.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(60):
        loss = objective.loss(objective.batch(range(18)))
        (loss.total / loss.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.total.detach()) / loss.weight)
    right, of = loss.metrics["named_right"]
    assert losses[-1] < 0.3 * losses[0] and right / of > 0.9


def test_a_connector_without_places_is_refused(tiny_model_tree, tiny_data, own_cache):
    tree = tiny_model_tree | {"connector": {"kind": "resampler", "n_queries": 4, "n_heads": 4}}
    data = Dataset(tiny_data)
    with pytest.raises(SensoriumError, match="each token of resampler sees the whole picture"):
        WordObjective(ModelConfig.model_validate(tree).build(), data.scenes("train"), None, 4, 0, ["cat"])
