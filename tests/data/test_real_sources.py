"""From other people's packages to a checked dataset: the real catalogue and a few scenes of it. Minutes, hence slow."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from sensorium.data.check import check_dataset
from sensorium.data.records import SPLITS
from sensorium.data.scenes import backgrounds, openclipart, stamps
from sensorium.data.scenes.build import ScenesConfig, build_scenes
from sensorium.data.scenes.catalogue import build_catalogue
from sensorium.data.scenes.emoji import EMOJI_STYLES, fetch_package
from sensorium.errors import SensoriumError

DEBIAN = {
    "openclipart-png": openclipart.OPENCLIPART,
    "tuxpaint-stamps-default": stamps.STAMPS,
    "scratch": backgrounds.SCRATCH,
}


def _missing() -> str:
    """What there is to install before this test can run; empty when nothing is missing."""
    found = [f"Debian's {package}" for package, folder in DEBIAN.items() if not folder.is_dir()]
    found += ["npm"] if shutil.which("npm") is None else []
    found += ["the extra sensorium[data]"] if importlib.util.find_spec("resvg_py") is None else []
    return ", ".join(found)


@pytest.mark.slow
def test_the_real_catalogue_makes_scenes_without_problems(tmp_path: Path) -> None:
    if missing := _missing():
        pytest.skip(f"needs {missing}")
    try:
        for style in EMOJI_STYLES:
            fetch_package(style, tmp_path / "catalogue" / "packages")
    except SensoriumError as error:
        if "could not fetch" not in str(error):  # a package with another hash is no reason to skip
            raise
        pytest.skip(str(error))
    catalogue = build_catalogue(tmp_path / "catalogue")
    styles = {drawing.style for drawing in catalogue.drawings}
    assert styles == {"openclipart", "stamps"} | {style.style for style in EMOJI_STYLES}
    assert all((catalogue.root / drawing.path).is_file() for drawing in catalogue.drawings)
    assert {drawing.name for drawing in catalogue.drawings} <= set(catalogue.vocabulary.names)
    assert any(background.held_out for background in catalogue.backgrounds)
    config = ScenesConfig(catalogue=catalogue.root, out=tmp_path / "scenes", sizes=dict.fromkeys(SPLITS, 12))
    report = check_dataset(build_scenes(config))
    assert report.problems == []
    assert {split: rows["scenes"] for split, rows in report.rows.items()} == dict.fromkeys(SPLITS, 12)
