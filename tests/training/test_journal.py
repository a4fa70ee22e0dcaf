"""What was written is read, torn lines are not, and a resumed run repeats no step."""

import errno
import io
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.training.journal import Journal, read_journal

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _journal(path: Path, rows) -> Path:
    with Journal(path) as journal:
        for row in rows:
            journal.write(row)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=5))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    path = _journal(tmp_path_factory.mktemp("run") / "journal.jsonl", rows)
    assert read_journal(path) == rows
    assert len(path.read_bytes().splitlines()) == len(rows)


def test_each_row_is_in_the_file_at_once_and_opening_again_appends(tmp_path, journal_rows):
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path)
    journal.write(journal_rows[0])
    assert read_journal(path) == journal_rows[:1]
    with Journal(path) as second:
        second.write(journal_rows[1])
    assert read_journal(path) == journal_rows[:2]
    journal.close()


def test_a_number_that_json_does_not_have_is_written_as_null(tmp_path):
    path = _journal(tmp_path / "j", [{"step": 1, "loss": math.nan, "lr": {"a": math.inf}, "list": [1.5, -math.inf]}])
    assert json.loads(path.read_text()) == {"step": 1, "loss": None, "lr": {"a": None}, "list": [1.5, None]}


@pytest.mark.parametrize("torn_bytes", [1, 10, 40])
def test_a_torn_last_line_is_passed_over_and_cut_off_at_opening(tmp_path, torn_bytes, journal_rows):
    path = _journal(tmp_path / "j", journal_rows)
    path.write_bytes(path.read_bytes()[:-torn_bytes])
    assert read_journal(path) == journal_rows[:-1]
    _journal(path, [{"step": 9}])
    assert read_journal(path) == [*journal_rows[:-1], {"step": 9}]


@pytest.mark.parametrize("line", ["{half", "[1]", "7", ""])
def test_a_bad_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "j"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(SensoriumError, match=r"j line 2: this is no JSON object"):
        read_journal(path)


def test_a_missing_journal_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SensoriumError, match=r"none\.jsonl: cannot read this journal \(No such file"):
        read_journal(tmp_path / "none.jsonl")


def test_truncating_by_stage_forgets_later_steps_and_later_stages(tmp_path, journal_rows):
    with Journal(_journal(tmp_path / "j", journal_rows)) as journal:
        journal.truncate_after(2, stage="align")
        assert read_journal(journal.path) == journal_rows[:5]
        journal.write(journal_rows[5])
    assert read_journal(tmp_path / "j") == journal_rows[:6]


def test_truncating_at_the_start_of_a_stage_not_yet_recorded_keeps_those_before(tmp_path, journal_rows):
    with Journal(_journal(tmp_path / "j", journal_rows[:2])) as journal:
        journal.truncate_after(0, stage="align")
    assert read_journal(tmp_path / "j") == journal_rows[:2]


def test_truncating_without_a_stage_counts_through_the_run_and_keeps_rows_without_a_step(tmp_path):
    rows = [{"event": "started"}, *({"stage": "a" if step < 4 else "b", "step": step} for step in range(1, 8))]
    with Journal(_journal(tmp_path / "j", rows)) as journal:
        journal.truncate_after(5)
    assert read_journal(tmp_path / "j") == rows[:6]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_full_disk_takes_back_the_line_that_did_not_fit(tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data) -> int:
            room = 300 - self.seek(0, os.SEEK_END)
            if room <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(bytes(data)[:room])

    monkeypatch.setattr("sensorium.training.journal.io.FileIO", FullDisk)
    with Journal(tmp_path / "j") as journal:
        written = 0
        with pytest.raises(SensoriumError, match=r"cannot write \(No space left on device\)"):
            for step in range(100):
                journal.write({"step": step, "loss": 1.0})
                written += 1
    assert 0 < written < 20
    assert (tmp_path / "j").read_bytes().endswith(b"}\n")
    assert len(read_journal(tmp_path / "j")) == written


def test_a_folder_where_the_journal_should_be_is_an_error(tmp_path):
    with pytest.raises(SensoriumError, match=r"cannot write \(Is a directory\)"):
        Journal(tmp_path)
