"""Video-MME as published: a parquet of questions, videos and subtitles by their videoID, and what may be missing."""

from __future__ import annotations

import zipfile

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import Data, MissingMedia
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.media.watching import Watcher

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def published(lookalike):
    return lookalike("videomme", "parquet")


def read(path, **options):
    return list(VIDEOMME.read(Data(path, **options), "official"))


def _times(video):
    return Watcher().watch(video).times_s


def table_of(folder):
    [path] = folder.glob("**/*.parquet")
    return path, parquet.read_table(path)


def test_videos_and_subtitles_are_found_by_their_id(published, film):
    film(published / "data" / "xyz.mp4", range(40, 240, 5))
    (published / "subtitle").mkdir()
    (published / "subtitle" / "xyz.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nHi.\n")
    plain, told = read(published, frames=2)[0], read(published, frames=2, with_subtitles=True)[0]
    assert plain.media()[0].source == str(published / "data" / "xyz.mp4")
    assert told.id == "001-1" and told.said(_times).endswith("Hi.\n") and plain.said is None


def test_the_file_of_questions_may_be_named_itself_with_the_folder_of_media(published):
    path, _ = table_of(published)
    assert [one.id for one in read(path, media=published)] == ["001-1", "001-2", "001-3"]
    assert read(path, media=published)[0].media()[0].source == str(published / "data" / "xyz.mp4")


def test_a_video_without_subtitles_is_asked_about_without_where_others_have_some(published, film):
    film(published / "data" / "xyz.mp4", range(40, 240, 5))
    (published / "subtitle").mkdir()
    (published / "subtitle" / "other.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nHi.\n")
    assert read(published, with_subtitles=True)[0].said is None


@pytest.mark.parametrize("empty_folder", [False, True])
def test_a_set_without_subtitles_is_not_asked_as_if_it_had_some(published, empty_folder):
    if empty_folder:
        (published / "subtitle").mkdir()
    assert len(read(published)) == 3
    with pytest.raises(SensoriumError, match=r"subtitle: has no subtitles, and --subtitles asks .* Name the folder"):
        read(published, with_subtitles=True)
    for name in ("subtitle", "videos_chunked_01"):
        zipfile.ZipFile(published / f"{name}.zip", "w").close()
    with pytest.raises(SensoriumError, match=r"Unpack subtitle\.zip in that folder\. Else: Name the folder"):
        read(published, with_subtitles=True)


def test_a_missing_video_is_named_and_so_are_archives_that_may_hold_it(published):
    (published / "data" / "xyz.mp4").unlink()
    [question, *_] = read(published)
    with pytest.raises(MissingMedia, match=r": xyz: this video is not there\. Name the folder of videos with"):
        question.conversation(_times)
    for name in ("subtitle", "videos_chunked_01", "videos_chunked_02", "videos_chunked_03"):
        zipfile.ZipFile(published / f"{name}.zip", "w").close()
    with pytest.raises(MissingMedia, match=r"Unpack videos_chunked_01\.zip and 2 more in that folder") as found:
        question.conversation(_times)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("column", "said"),
    [("question", "question"), ("answer", "answer"), ("task_type", "task_type"), ("options", "options or candidates")],
)
def test_a_missing_column_is_named_before_anything_is_asked(published, column, said):
    path, table = table_of(published)
    parquet.write_table(table.drop_columns([column]), path)
    with pytest.raises(SensoriumError, match=rf"parquet: has no column {said}\. It has video_id, ") as found:
        read(published)
    assert "\n" not in str(found.value)


def test_some_name_of_the_video_is_needed(published):
    path, table = table_of(published)
    parquet.write_table(table.drop_columns(["videoID", "video_id"]), path)
    with pytest.raises(SensoriumError, match="has no column videoID or video or video_id"):
        read(published)


def test_a_file_that_is_no_parquet_is_said_to_be_none(published):
    path, _ = table_of(published)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SensoriumError, match=r"cannot be read as parquet .* Get the file again"):
        read(published)
