"""Rows of result files: what is read, and that every fault names its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers.rows import (
    read_json,
    read_rows,
    read_table,
    read_trailing_rows,
    same_ids,
    same_length,
)


def _fault(call, *words):
    with pytest.raises(SensoriumError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_arrays_lines_and_arrays_under_a_key_are_the_same_rows(write):
    rows = [{"id": 1, "a": "é\u2028"}, {"id": 2, "a": ""}]
    for path, key in (
        (write("a.json", rows), None),
        (write("a.jsonl", rows), None),
        (write("bom.jsonl", "\ufeff" + json.dumps(rows[0]) + "\n\n  \n" + json.dumps(rows[1])), None),
        (write("key.json", {"info": {"data": [3]}, "data": rows}), "data"),
    ):
        assert list(read_rows(path, key)) == rows


def test_a_row_of_an_array_knows_its_line(write):
    path = write("a.json", '{\n "x": ["{", [1]],\n "data": [\n  {"id": 1},\n\n  {"id": 2,\n   "b": 1}, {"id": 1}]}')
    rows = read_rows(path, "data")
    assert [rows.where(i) for i in range(3)] == [f"{path} line {n}" for n in (4, 6, 7)]
    _fault(lambda: rows.by("id"), f"{path} line 7", "id 1 was there before, in line 4")


@given(st.lists(st.tuples(st.integers(0, 3), st.text("[]{},\"\\ \n:a", max_size=6)), min_size=1, max_size=8))
def test_lines_of_array_elements_are_found_whatever_stands_between(tmp_path_factory, items):
    text, lines = "[", []
    for i, (gap, word) in enumerate(items):
        text += "\n" * gap
        lines.append(text.count("\n") + 1)
        text += json.dumps({"w": word}, indent=1) + ("," if i + 1 < len(items) else "\n]")
    path = tmp_path_factory.mktemp("rows") / "a.json"
    path.write_text(text, encoding="utf-8", newline="")
    rows = read_rows(path)
    assert [row["w"] for row in rows] == [word for _, word in items]
    assert [rows.where(i) for i in range(len(rows))] == [f"{path} line {n}" for n in lines]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: is not JSON"),
        ("a.jsonl", '{"a": 1}\n3\n', "line 2: expected an object, found int"),
        ("a.json", '[{"a": 1},\n {"a": 2', "line 2: is not JSON"),
        ("a.json", '[{"a": 1},\n {"a": 2},]', "line 2: is not JSON"),
        ("a.json", "[" * 100_000, "cannot be read as JSON"),
        ("a.json", '{"b": []}', "has no list `rows`. It has b."),
    ],
)
def test_what_cannot_be_read_names_its_line(write, name, text, said):
    key = "rows" if name == "a.json" else None
    _fault(lambda: read_rows(write(name, text), key), said)


def test_other_bytes_and_missing_files_are_told(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes(b'[{"a": "x"},\n{"a": "\xe9"}]')
    _fault(lambda: read_rows(path), "latin.json line 2: is not UTF-8")
    _fault(lambda: read_json(tmp_path / "none.json"), "none.json: cannot be read")


def test_trailing_commas_are_put_up_with_where_asked_and_commas_in_strings_stay(write):
    path = write("a.json", '[{"a": ",]", "b": [1, 2,],\n},\n{"a": "\\",}"},\n]')
    assert list(read_trailing_rows(path)) == [{"a": ",]", "b": [1, 2]}, {"a": '",}'}]
    assert read_trailing_rows(path).where(1).endswith("line 3")
    assert read_json(path, trailing_commas=True)[1] == {"a": '",}'}
    _fault(lambda: read_json(path), "line 1: is not JSON")


def test_tables_have_cells_of_several_lines_and_of_any_length(write):
    long = "x" * 300_000
    path = write("a.tsv", f'index\tB\n1\t"a\nb"\n2\t{long}\n3\tq\n')
    rows = read_table(path)
    assert [row["B"] for row in rows] == ["a\nb", long, "q"]
    assert [rows.where(i) for i in range(3)] == [f"{path} line {n}" for n in (2, 4, 5)]
    _fault(lambda: read_table(write("b.tsv", "a\tb\n1\t2\n1\n")), "b.tsv line 3: has 1 cells where the heading has 2")


def test_sets_that_differ_are_told(write):
    asked = read_rows(write("q.json", [{"id": 1}, {"id": 2}]))
    few = read_rows(write("a.jsonl", [{"id": 1}]))
    _fault(lambda: same_ids(asked, few, "id"), "q.json line 5", "id 2 has no answer")
    unknown = read_rows(write("b.jsonl", [{"id": 1}, {"id": 2}, {"id": 3}]))
    _fault(lambda: same_ids(asked, unknown, "id"), "b.jsonl line 3: id 3 is not in q.json")
    _fault(lambda: same_length(asked, unknown), "holds 3 answers to the 2 questions")
    assert same_ids(asked, read_rows(write("c.jsonl", [{"id": 2}, {"id": 1}])), "id") == [(0, 1), (1, 0)]


def test_values_of_another_kind_name_the_field(write):
    rows = read_rows(write("a.jsonl", [{"a": None, "n": True, "l": [1]}]))
    _fault(lambda: rows.text(0, "a"), "line 1: `a` is null where a string should be", 'write ""')
    _fault(lambda: rows.text(0, "z"), "has no `z`. It has a, n, l.")
    _fault(lambda: rows.name(0, "n"), "`n` is bool")
    _fault(lambda: rows.number(0, "n"), "`n` is bool")
    _fault(lambda: rows.texts(0, "l"), "`l` is list")
    _fault(lambda: rows.numbers(0, "l", 2), "2 numbers should be")
