"""Small things, cards and pages are added behind the plain pictures, which stay byte for byte what they were."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from sensorium.data.check import check_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.records import SEVERAL_SUBSETS
from sensorium.data.scenes.build import PICTURES_VERSION, ScenesConfig, pictures_fingerprint
from sensorium.data.scenes.words import Words
from sensorium.data.sheet import contact_sheet
from sensorium.errors import SensoriumError


@pytest.fixture
def more(config):
    sizes = {"train": 12, "val": 4, "test_seen": 8, "test_objects": 4, "test_style": 4}
    given = {"sizes": sizes, "several": 0.5, "small": 0.5, "cards": 0.5, "pages": 0.5}
    return ScenesConfig.model_validate({**config.model_dump(), **given, "out": config.out.with_name("more")})


def test_the_options_add_and_change_nothing_that_was_there(more):
    off = {"several": 0, "small": 0, "cards": 0, "pages": 0, "out": more.out.with_name("plain")}
    plain = more.model_copy(update=off).build()
    with_all = more.build()
    for split in more.sizes:
        before, after = ((root / split / "scenes.jsonl").read_bytes() for root in (plain, with_all))
        assert after.startswith(before) and len(after) > len(before)
        for picture in (plain / split / "images").rglob("*.jpg"):
            assert picture.read_bytes() == (with_all / picture.relative_to(plain)).read_bytes()
        for name in ("conversations", "probes"):
            before, after = ((root / split / f"{name}.jsonl").read_text().splitlines() for root in (plain, with_all))
            assert set(before) <= set(after)
    assert set(json.loads((plain / "dataset.json").read_text())["held_out"]) == {"objects", "styles", "backgrounds"}


def test_without_the_options_the_pictures_depend_on_what_they_always_did(config):
    table = (config.catalogue / "catalogue.json").read_bytes()
    parts = [PICTURES_VERSION, hashlib.sha256(table).hexdigest(), config.seed, config.sizes]
    assert pictures_fingerprint(config) == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    wider = [config.model_copy(update={name: 0.5}) for name in ("small", "cards", "pages")]
    assert len({pictures_fingerprint(one) for one in (config, *wider)}) == 4


def test_a_build_with_everything_is_a_dataset_without_faults(more):
    dataset = Dataset(more.build())
    assert check_dataset(dataset.root).problems == []
    kinds = Counter(scene.kind for scene in dataset.scenes("train"))
    assert kinds == {"plain": 12, "small": 6, "cards": 6, "page": 6}
    assert [scene.kind for scene in dataset.scenes("train", "page")] == ["page"] * 6
    tasks = Counter(row.task for row in dataset.conversations("train"))
    assert tasks["reading"] == 6 * 2 + 6 * 3 and tasks["small"] == 6 * 2 and tasks["several"] > 2
    subsets = Counter(probe.subset for probe in dataset.probes("test_seen"))
    assert subsets["small_existence"] == subsets["reading_card"] == subsets["reading_page"] == 4
    assert set(SEVERAL_SUBSETS) & set(subsets)
    assert dataset.info["held_out"]["words"] == list(Words.load().held_out)
    assert dataset.info["held_out"]["fonts"] == ["hanken-grotesk", "hanken-grotesk-bold"]
    assert {"OFL-1.1"} <= set(dataset.info["licences"])


def test_no_held_out_word_is_spoken_of_in_training(more):
    dataset = Dataset(more.build())
    held_out = set(Words.load().held_out)
    for split in ("train", "val"):
        said = " ".join(m.text for row in dataset.conversations(split, ["reading"]) for m in row.conversation())
        assert said and not set(said.lower().replace('"', " ").split()) & held_out


def test_a_held_out_word_in_training_is_a_fault(more):
    folder = more.build()
    path = folder / "train" / "scenes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["printed"][0]["lines"][0][0]["text"] = "Harbor"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [problem] = check_dataset(folder).problems
    assert problem.endswith("words: harbor is held out and may not be in train.")


def test_a_sheet_of_pages_shows_them_as_large_as_they_are(more):
    folder = more.build()
    sheet = contact_sheet(folder, "train", rows=1, columns=2, kind="page")
    assert sheet.width == 2 * (896 + 12) + 12
    assert contact_sheet(folder, "train", rows=1, columns=2, kind="plain").width == 2 * (420 + 12) + 12
    with pytest.raises(SensoriumError, match="page"):
        contact_sheet(folder, "train", kind="pages")
