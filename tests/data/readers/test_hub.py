"""Tables on the hub, from a server on this machine that speaks the few endpoints which reading them needs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image as Picture

from sensorium.data.readers import READERS
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.media import image_size
from sensorium.training.samples import SourceSamples

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PLACE = "/datasets/someone/chats"
GROUP = 10  # rows


class Hub(ThreadingHTTPServer):
    """One dataset of one commit. asked: (file, bytes sent) of each request for a file's content."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked, self.commit = files, list[tuple[str, int]](), COMMIT
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> int:
        return sum(size for _, size in self.asked)


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if re.fullmatch(f"/api{PLACE}(/revision/[^/]+)?", path):
            return self._json({"id": "someone/chats", "sha": self.server.commit, "siblings": []})
        if match := re.fullmatch(f"/api{PLACE}/tree/[^/]+(/.*)?", path):
            return self._tree((match[1] or "").strip("/"))
        if match := re.fullmatch(f"{PLACE}/resolve/[^/]+/(.*)", path):
            return self._file(match[1])
        self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _tree(self, inside: str) -> None:
        """All files below a folder; the real one lists folders as well."""
        found = {name: data for name, data in self.server.files.items() if name.startswith(f"{inside}/" * bool(inside))}
        if not found:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        entries = [{"type": "file", "path": name, "size": len(data), "oid": f"{hash(data):x}"}
                   for name, data in found.items()]
        folders = {str(folder) for name in found for folder in Path(name).parents} - {".", inside}
        entries += [{"type": "directory", "path": folder, "size": 0, "oid": "0"} for folder in folders]
        self._json(entries)

    def _file(self, name: str) -> None:
        data = self.server.files[name]
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(match[1]), min(int(match[2]) + 1, len(data))) if match else (0, len(data))
        self.server.asked.append((name, end - start))
        self._send(data[start:end], 206 if match else 200, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *words: Any) -> None:
        """Nothing."""


def noise(number: int) -> bytes:
    """A picture that nothing makes smaller: some 12 kB."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(first: int, rows: int) -> bytes:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = [{"images": [{"bytes": noise(i), "path": None}], "not_read": random.Random(i).randbytes(20_000),
                "texts": [{"user": f"Which is {i}?", "assistant": f"{i}."}]} for i in range(first, first + rows)]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(content), file, row_group_size=GROUP)
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Four tables of thirty rows in groups of ten, and what is not looked at."""
    found = {f"set/train-{i}.parquet": table(30 * i, 30) for i in range(4)}
    return found | {"README.md": b"# Chats", "other/0.parquet": table(0, 10)}


@pytest.fixture
def hub(files, tmp_path, monkeypatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub(dict(files))
    # What HF_ENDPOINT sets when the library is loaded.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.address)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def opened(path: str = "hf://datasets/someone/chats/set", **more: Any) -> Any:
    return READERS["parquet"](path=path, **more).open()


def test_a_row_on_the_hub_costs_the_columns_of_its_group(hub, files):
    source = opened()
    assert len(source) == 120 and source.runs == (GROUP,) * 12
    for_ends = hub.sent
    assert for_ends < sum(map(len, files.values())) * 0.2 and not any("other" in name for name, _ in hub.asked)
    sample = source[57]
    assert [m.text for m in sample.content] == ["Which is 57?", "57."] and sample.where.endswith("row 58")
    assert sample.content.images[0].source == noise(57)
    assert {name for name, size in hub.asked if size > 100_000} == {"set/train-1.parquet"}
    pictures = sum(len(noise(i)) for i in range(50, 60))
    assert pictures < hub.sent - for_ends < pictures * 1.1  # neither the column that nobody reads nor other groups
    before = hub.sent
    assert source[50].content.images[0].source == noise(50) and source[59] and hub.sent == before


def test_what_was_fetched_is_not_fetched_again_by_another_process_or_without_network(hub, monkeypatch):
    from huggingface_hub import constants

    source = opened()
    rows = [source[i] for i in (3, 99)]
    before = hub.sent
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i] for i in (3, 99)] == rows and [opened()[i] for i in (3, 99)] == rows and hub.sent == before
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = opened()
    assert [again[i] for i in (3, 99)] == rows
    with pytest.raises(SensoriumError, match=r"train-0\.parquet group 3: could not be fetched \(.+\)\. Check token"):
        again[25]


def test_without_network_what_was_never_fetched_is_told_by_its_address(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SensoriumError, match=r"hf://datasets/someone/chats/set: could not be fetched \(.*offline"):
        opened()
    assert not hub.asked


@pytest.mark.parametrize(("path", "message"), [
    ("hf://datasets/someone/nothing", r"could not be fetched \(.*nothing"),
    ("hf://datasets/someone/chats/none", r"has no file `\*\.parquet`"),
    ("hf://datasets/someone/chats/README.md", r"has no file `\*\.parquet`"),
])
def test_what_is_not_on_the_hub_is_told(hub, path, message):
    with pytest.raises(SensoriumError, match=message):
        opened(path)


def test_a_file_a_folder_and_a_whole_repository_can_be_named(hub):
    assert len(opened("hf://datasets/someone/chats/set/train-2.parquet")) == 30
    assert len(opened("hf://datasets/someone/chats@main/other")) == 10
    assert len(opened("hf://datasets/someone/chats")) == 130


def mixture(folder: Path, **more: Any) -> SourceSamples:
    source = {"format": "parquet", "path": "hf://datasets/someone/chats/set", **more}
    (folder / "sources.yaml").write_text(json.dumps({"sources": [source]}))
    return SourceSamples(load_sources(folder / "sources.yaml"), None, seed=3)


def test_a_part_of_a_table_is_taken_from_as_few_groups_as_can_be(hub, tmp_path):
    part = mixture(tmp_path, samples=40)
    assert len({int(row) // GROUP for row in part.mixture.row}) == 4 and len(set(part.mixture.row)) == 40
    whole = mixture(tmp_path, epochs=2)
    assert [sorted(whole.mixture.row[start : start + 120]) for start in (0, 120)] == [list(range(120))] * 2
    before = hub.sent
    for number in range(40):
        [talk] = part[number]
        assert [image_size(image) for image in talk.conversation.images] == [(64, 64)]
    assert hub.sent - before < 40 * 12_800 * 1.1


def test_another_commit_is_other_data(hub, tmp_path):
    before = mixture(tmp_path).fingerprint()
    assert mixture(tmp_path).fingerprint() == before
    hub.commit = COMMIT[::-1]
    assert mixture(tmp_path).fingerprint() == before  # the same files
    hub.files["set/train-3.parquet"] = hub.files["other/0.parquet"]
    assert len(mixture(tmp_path)) == 100 and mixture(tmp_path).fingerprint() != before


def test_a_table_that_is_cut_off_is_named(hub):
    hub.files["set/train-2.parquet"] = hub.files["set/train-2.parquet"][:-4]
    with pytest.raises(SensoriumError, match=r"train-2\.parquet: cannot be read as parquet"):
        opened()


def test_the_command_checks_a_table_on_the_hub_and_says_when_it_is_out_of_reach(hub, tmp_path):
    path = tmp_path / "sources.yaml"
    path.write_text("sources: [{format: parquet, path: 'hf://datasets/someone/chats/other'}]\n")
    command = [sys.executable, "-m", "sensorium", "data", "check", str(path)]
    for offline, message in (("0", "other: 10 samples, 0 faults"), ("1", "other: 10 samples, 0 faults")):
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": offline}
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        assert done.returncode == 0 and message in done.stdout, done.stdout + done.stderr
    path.write_text("sources: [{format: parquet, path: 'hf://datasets/someone/chats/set'}]\n")
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 1 and "could not be fetched" in done.stdout and "offline" in done.stdout.lower()
