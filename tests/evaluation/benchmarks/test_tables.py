"""Tables with pictures in their cells: what stands there is found again, and what is wrong is named by its line."""

from __future__ import annotations

import pytest

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.parquet import ParquetTable
from sensorium.evaluation.benchmarks.tables import SpreadsheetTable, strings_of
from sensorium.media import open_image


def colour_of(image):
    return open_image(image).getpixel((3, 3))


def open_table(path):
    return SpreadsheetTable(path, Image)


def test_pictures_are_found_by_place_behind_cells_of_several_lines_and_many_bytes(tsv, tmp_path, picture_cell):
    rows = [
        {"index": 0, "image": picture_cell("red"), "question": 'two\nlines and "quotes"\twith a tab'},
        {"index": 1, "image": picture_cell("green"), "question": "größer 图片"},
        {"index": 2, "image": 0, "question": "again"},
    ]
    table = open_table(tsv(tmp_path / "t.tsv", rows))
    assert [table.row(i)["question"] for i in range(3)] == [row["question"] for row in rows]
    assert [colour_of(table.images(i)[0]) for i in (2, 1, 0)] == [(210, 30, 30), (30, 190, 40), (210, 30, 30)]
    assert table.picture_id(0) == table.picture_id(2) != table.picture_id(1)
    assert [table.where(i).rpartition(" ")[2] for i in range(3)] == ["2", "4", "5"]


def test_a_list_of_pictures_is_all_of_them_in_order(tsv, tmp_path, picture_cell):
    rows = [
        {"index": 7, "image": str([picture_cell("red"), picture_cell("blue")])},
        {"index": 8, "image": str(["7", picture_cell("green")])},
    ]
    table = open_table(tsv(tmp_path / "t.tsv", rows))
    assert [colour_of(one)[2] for one in table.images(0)] == [30, 210]
    assert [colour_of(one) for one in table.images(1)] == [(210, 30, 30), (30, 50, 210), (30, 190, 40)]


def test_pictures_named_by_path_lie_beside_the_table(tsv, tmp_path):
    table = SpreadsheetTable(tsv(tmp_path / "t.tsv", [{"index": 0, "image_path": "['a.png', 'b.png']"}]), Image)
    assert [image.source for image in table.images(0)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index\timage\n1\tx\n1\tx\n", "line 3: index 1 was there before, in line 2"),
        ("index\timage\n1\n", "line 2: has 1 cells where the heading has 2"),
        ("question\n?\n", "has the columns question"),
        ("index\timage\n1\t\xff\n", "no tab-separated table in UTF-8"),
    ],
)
def test_a_damaged_table_is_named_by_its_line(tmp_path, text, said):
    path = tmp_path / "t.tsv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SensoriumError, match=said):
        open_table(path)


@pytest.mark.parametrize(
    ("cell", "said"), [("9", "that of index '9', which has none"), ("!" * 80, "base64 of its picture is damaged")]
)
def test_a_damaged_picture_is_no_fault_of_the_table(tsv, tmp_path, picture_cell, cell, said):
    rows = [{"index": 0, "image": cell}, {"index": 1, "image": picture_cell("red")}]
    table = open_table(tsv(tmp_path / "t.tsv", rows))
    assert colour_of(table.images(1)[0]) == (210, 30, 30)
    with pytest.raises(SensoriumError, match=said):
        table.images(0)


def test_cells_are_read_as_literals_and_never_run():
    assert strings_of("['a', \"b\"]") == ["a", "b"]
    assert strings_of('["a", "b"]') == ["a", "b"]
    assert strings_of("__import__('os').getcwd()") == ["__import__('os').getcwd()"]
    assert strings_of("plain") == ["plain"]


def test_parquet_is_read_over_files_and_row_groups(parquet, tmp_path, picture_cell):
    import base64

    def row(number, colour):
        return {"n": number, "image": {"bytes": base64.b64decode(picture_cell(colour)), "path": None}}

    colours = ["red", "green", "blue", "red", "green"]
    first = parquet(tmp_path / "0.parquet", [row(i, colour) for i, colour in enumerate(colours)])
    second = parquet(tmp_path / "1.parquet", [row(5, "blue")])
    table = ParquetTable([first, second], Image)
    assert [table.row(i)["n"] for i in range(len(table))] == [0, 1, 2, 3, 4, 5]
    assert colour_of(table.images(5)[0]) == colour_of(table.images(2)[0]) == (30, 50, 210)
    assert len({table.picture_id(i) for i in range(6)}) == 3
    assert table.where(4) == f"{first} row 5" and table.where(5) == f"{second} row 1"


def test_parquet_that_is_none_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(SensoriumError, match="cannot be read as parquet"):
        ParquetTable([tmp_path / "x.parquet"], Image)
