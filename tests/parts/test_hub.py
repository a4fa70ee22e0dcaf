"""Models of the hub: found in its cache without network, and refused in one line without either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.errors import SensoriumError
from sensorium.parts.hub import hub_folder


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot folder of someone/model in a hub cache of this test's, as huggingface_hub lays it out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo, revision = tmp_path / "models--someone--model", "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    snapshot = repo / "snapshots" / revision
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_whole_snapshot_is_found_without_network(cached):
    (cached / "config.json").write_text("{}")
    (cached / "model.safetensors").write_bytes(b"")
    assert hub_folder("someone/model") == cached


@pytest.mark.parametrize("index", [{"weight_map": {"a": "model-1-of-2.safetensors"}}, {}, []])
def test_half_a_snapshot_is_not_taken_for_a_model(cached, index):
    """It would be fetched again, if there were network here."""
    (cached / "config.json").write_text("{}")
    (cached / "model.safetensors.index.json").write_text(json.dumps(index))
    told: list[str] = []
    with pytest.raises(SensoriumError, match="someone/model: is "):
        hub_folder("someone/model", lambda what, done, total: told.append(what))
    assert told == ["fetching someone/model"]


@pytest.mark.parametrize("name", ["no/such-model", "no/such--model.."])
def test_what_cannot_be_had_is_said_in_one_line(cached, name):
    with pytest.raises(SensoriumError, match=f"{name}: is no folder here, and cannot be fetched from the hub") as found:
        hub_folder(name)
    assert "\n" not in str(found.value)
