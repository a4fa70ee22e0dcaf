"""The cache holds what the stem makes of each picture: right, resumable, and never stale."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.views import make_views
from sensorium.training import features
from sensorium.training.features import build_feature_cache


@pytest.fixture(autouse=True)
def _setup(own_cache, tiny_model, monkeypatch):
    tiny_model.requires_grad_(False)
    monkeypatch.setattr(features, "BATCH", 4)


@pytest.fixture
def paths(tiny_data, tmp_path) -> list[str]:
    """Ten pictures of our own, which a test may change."""
    chosen = sorted((tiny_data / "train" / "images").iterdir())[:10]
    return [str(shutil.copy(path, tmp_path)) for path in chosen]


def _folders(own_cache: Path) -> list[Path]:
    return sorted((own_cache / "features").iterdir())


def test_cached_states_equal_the_stems_own(tiny_model, paths):
    cache = build_feature_cache(tiny_model, paths)
    pixels = torch.cat([make_views(open_image(Image(path)), tiny_model.sight) for path in paths])
    with torch.inference_mode():
        expected = tiny_model.vision.stem_states(pixels)
    order = [7, 0, 3]
    found = cache.get([paths[i] for i in order])
    assert found.dtype == torch.float32 and found.shape == (3, 17, 32)
    torch.testing.assert_close(found, expected[order], atol=2e-3, rtol=1e-3)  # float16 has 11 bits


def test_a_second_build_computes_nothing(tiny_model, paths):
    build_feature_cache(tiny_model, paths)
    tiny_model.vision.stem.forward = None
    build_feature_cache(tiny_model, [*paths, paths[0]])


def test_an_interrupted_build_goes_on_where_it_stopped(tiny_model, paths, own_cache):
    whole = build_feature_cache(tiny_model, paths).get(sorted(paths))
    shutil.rmtree(own_cache)

    def stop(done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_feature_cache(tiny_model, paths, progress=stop)
    told: list[tuple[int, int]] = []
    cache = build_feature_cache(tiny_model, paths, progress=lambda done, total: told.append((done, total)))
    assert told == [(8, 10), (10, 10)]
    assert torch.equal(cache.get(sorted(paths)), whole)


def test_a_kill_between_the_states_and_their_count_costs_one_batch(tiny_model, paths, own_cache):
    """The count is replaced whole and after the states: what it says is there is there."""
    whole = build_feature_cache(tiny_model, paths).get(sorted(paths))
    folder = _folders(own_cache)[0]
    (folder / "done.json").write_text(json.dumps({"rows": 4}))
    states = np.load(folder / "states.npy", mmap_mode="r+")
    states[4:] = 99.0
    states.flush()
    (folder / "done.json.part").write_text("{")  # as a kill may leave it
    assert torch.equal(build_feature_cache(tiny_model, paths).get(sorted(paths)), whole)


def test_a_stem_that_trains_is_refused(tiny_model, paths):
    tiny_model.vision.stem.requires_grad_(True)
    with pytest.raises(SensoriumError, match=r"the vision stem trains, .*Set vision.tail_blocks"):
        build_feature_cache(tiny_model, paths)


def test_the_tail_may_train(tiny_model, paths):
    tiny_model.vision.tail.requires_grad_(True)
    assert len(build_feature_cache(tiny_model, paths).states) == 10


def test_another_picture_under_the_same_name_is_another_cache(tiny_model, paths, own_cache):
    before = build_feature_cache(tiny_model, paths).get(paths[:1])
    Picture.new("RGB", (9, 9), (1, 2, 3)).save(paths[0])
    after = build_feature_cache(tiny_model, paths).get(paths[:1])
    assert len(_folders(own_cache)) == 2 and not torch.equal(before, after)


def test_the_same_pictures_elsewhere_are_the_same_cache(tiny_model, paths, own_cache, tmp_path):
    build_feature_cache(tiny_model, paths)
    (tmp_path / "moved").mkdir()
    moved = [shutil.copy(path, tmp_path / "moved") for path in paths]
    build_feature_cache(tiny_model, [str(path) for path in moved])
    assert len(_folders(own_cache)) == 1


def test_other_weights_or_arithmetic_are_another_cache(tiny_model, paths, own_cache):
    build_feature_cache(tiny_model, paths)
    build_feature_cache(tiny_model, paths, torch.bfloat16)
    next(tiny_model.vision.stem.parameters()).data += 0.01
    build_feature_cache(tiny_model, paths)
    assert len(_folders(own_cache)) == 3
    next(tiny_model.vision.tail.parameters()).data += 0.01  # the tail is not cached
    build_feature_cache(tiny_model, paths)
    assert len(_folders(own_cache)) == 3


def test_a_picture_that_is_not_in_the_cache_is_named(tiny_model, paths, tmp_path):
    cache = build_feature_cache(tiny_model, paths)
    Picture.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "elsewhere.png")
    with pytest.raises(SensoriumError, match=r"elsewhere.png: is shown in a conversation but was not there"):
        cache.get([paths[0], str(tmp_path / "elsewhere.png")])


def test_a_disk_too_small_is_said_beforehand(tiny_model, paths, monkeypatch, own_cache):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(SensoriumError, match=r"needs 0.0 GB for vision features, 0.0 GB are free"):
        build_feature_cache(tiny_model, paths)
    assert not (_folders(own_cache)[0] / "states.npy").exists()


def test_a_picture_that_does_not_open_is_named(tiny_model, paths):
    Path(paths[3]).write_bytes(b"no picture")
    with pytest.raises(SensoriumError, match=Path(paths[3]).name):
        build_feature_cache(tiny_model, paths)


def test_rows_are_of_pictures_and_not_of_names_or_of_how_they_are_held(tiny_model, paths, own_cache, tmp_path):
    """In a file, in another one, in a data URL, as bytes: one picture is one row, whoever asks."""
    copy = shutil.copy(paths[0], tmp_path / "copy.png")
    data = Path(paths[0]).read_bytes()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    cache = build_feature_cache(tiny_model, [Image(url), Image(data), paths[1], str(copy), paths[0]])
    assert len(cache.states) == 2
    states = cache.get([Image(data), Image(url), str(copy), paths[0], Image(Path(paths[1]).read_bytes())])
    assert all(torch.equal(state, states[0]) for state in states[:4]) and not torch.equal(states[4], states[0])


def test_a_copy_in_another_process_holds_no_states_of_its_own(tiny_model, paths):
    cache = build_feature_cache(tiny_model, paths)
    pickled = pickle.dumps(cache)
    assert len(pickled) < cache.states.nbytes / 4
    assert torch.equal(pickle.loads(pickled).get(paths), cache.get(paths))


def test_a_damaged_picture_may_be_left_to_whoever_asks_for_it(tiny_model, paths):
    """And is still damaged the second time, when nothing is computed."""
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:90])
    for _ in range(2):
        cache = build_feature_cache(tiny_model, paths, skip_damaged=True)
        with pytest.raises(SensoriumError, match=rf"{Path(paths[3]).name}: is damaged"):
            cache.get([paths[0], paths[3]])
        assert cache.get([*paths[:3], *paths[4:]]).abs().sum(dim=(1, 2)).min() > 0
    with pytest.raises(SensoriumError, match=rf"{Path(paths[3]).name}: is damaged"):
        build_feature_cache(tiny_model, paths)
