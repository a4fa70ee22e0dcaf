"""A walk through a JSON file gives what parsing it whole gives, wherever its pieces end; damage is told of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.readers import walk
from sensorium.data.readers.rows import JsonEntries, JsonRows
from sensorium.data.readers.walk import JsonFile
from sensorium.errors import SensoriumError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
PIECES = st.sampled_from([1, 3, 64, 1 << 20])
LAYOUT = st.tuples(st.booleans(), st.sampled_from([None, 0, 2]))  # only ASCII, indent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("walk")


def written(folder, value, layout, piece, mark=b""):
    """The file of a value, walked in pieces of so many bytes."""
    only_ascii, indent = layout
    walk.PIECE = piece
    path = folder / "x.json"
    path.write_bytes(mark + json.dumps(value, ensure_ascii=only_ascii, indent=indent).encode("utf-8"))
    return path


@pytest.fixture(autouse=True)
def _pieces(monkeypatch):
    monkeypatch.setattr(walk, "PIECE", walk.PIECE)  # put back after each test


@settings(max_examples=40, deadline=None)
@given(value=st.lists(VALUES, max_size=5), layout=LAYOUT, piece=PIECES, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_an_array_is_walked_element_by_element(folder, value, layout, piece, mark):
    path = written(folder, value, layout, piece, mark)
    assert list(JsonFile(path).items()) == value
    data = path.read_bytes()
    assert [json.loads(data[start:end]) for start, end in JsonFile(path).spans()] == value


@settings(max_examples=40, deadline=None)
@given(value=st.dictionaries(TEXT, VALUES, max_size=5), layout=LAYOUT, piece=PIECES)
def test_an_object_is_walked_pair_by_pair_and_read_by_id(folder, value, layout, piece):
    path = written(folder, value, layout, piece)
    assert {name: found for name, _, found in JsonFile(path).pairs()} == value
    entries = JsonEntries(path)
    assert list(entries) == list(value) and {name: entries[name] for name in entries} == value


@settings(max_examples=40, deadline=None)
@given(value=st.dictionaries(TEXT, VALUES | st.lists(VALUES, max_size=4), max_size=4), layout=LAYOUT, piece=PIECES)
def test_what_lies_under_a_key_is_found_wherever_it_stands(folder, value, layout, piece):
    file = JsonFile(written(folder, value, layout, piece))
    for key, inner in value.items():
        assert key in file
        if isinstance(inner, list):
            assert list(file.items(key)) == inner
        else:
            with pytest.raises(SensoriumError, match="is no list"):
                list(file.items(key))
        if isinstance(inner, dict):
            assert {name: found for name, _, found in file.pairs(key)} == inner
    assert "no such key" not in file
    with pytest.raises(SensoriumError, match="no such key: is missing"):
        list(file.items("no such key"))


@settings(max_examples=100, deadline=None)
@given(value=st.lists(st.dictionaries(TEXT, VALUES, max_size=2), min_size=1, max_size=4), layout=LAYOUT, piece=PIECES,
       data=st.data())
def test_a_file_that_is_no_json_is_never_taken_for_one(folder, value, layout, piece, data):
    """Cut anywhere, or with a byte exchanged: either Python's own parser reads it and so do we, or neither does."""
    path = written(folder, value, layout, piece)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole = whole[:place]
    else:
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        expected = json.loads(whole)
    except (ValueError, RecursionError):
        expected = None
    if isinstance(expected, list):
        assert list(JsonFile(path).items()) == expected
    else:
        with pytest.raises(SensoriumError):
            list(JsonFile(path).items())
            list(JsonFile(path).spans())  # looks at what follows the array, too


def test_no_more_than_a_piece_and_an_element_is_in_memory(tmp_path):
    """A file of 40 MB, of which each row is parsed and let go: tracked by the interpreter itself."""
    import tracemalloc

    row = json.dumps({"id": "0" * 20, "conversations": [{"from": "human", "value": "word " * 80}] * 2})
    path = tmp_path / "mix.json"
    path.write_text("[" + ",\n".join([row] * 46_000) + "]")
    assert path.stat().st_size > 40e6
    tracemalloc.start()
    rows = JsonRows(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 46_000 and rows[45_999][1]["id"] == "0" * 20
    assert peak < 8e6  # two pieces while one is put behind the other, and 24 bytes a row
