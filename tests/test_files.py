"""A file is replaced whole, or stays as it was."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.files import replacing, write_whole


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_whole(path, "first")
    write_whole(path, b"second")
    assert path.read_text() == "second"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    write_whole(path, "kept")
    with pytest.raises(ValueError), replacing(path) as part:
        part.write_text("half")
        raise ValueError
    assert path.read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_what_the_disk_refuses_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SensoriumError, match=r"cannot be written .*Choose another place"):
        write_whole(tmp_path / "file" / "below", "x", "Choose another place.")
