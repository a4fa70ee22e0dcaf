"""The catalogue: drawings found, cut out, coloured, written and read back."""

import colorsys
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from sensorium.data.records import COLOURS
from sensorium.data.scenes import backgrounds, catalogue, emoji
from sensorium.data.scenes.catalogue import Background, Catalogue, Drawing, write_background, write_drawing
from sensorium.data.scenes.cutout import LONG_SIDE, dominant_colour, name_colours, render
from sensorium.data.scenes.emoji import EMOJI_STYLES, HELD_OUT_STYLE, EmojiStyle, IconSet, fetch_package, read_icons
from sensorium.data.scenes.openclipart import openclipart_artworks
from sensorium.data.scenes.sources import Artwork
from sensorium.data.scenes.stamps import stamp_artworks
from sensorium.data.scenes.vocabulary import VOCABULARY_FILE, Vocabulary
from sensorium.errors import SensoriumError

DOT = '<circle cx="30" cy="10" r="5" fill="#d01010"/>'


def picture_file(path: Path, size: tuple[int, int], box: tuple[int, int, int, int], colour: str = "red") -> Path:
    picture = Image.new("RGBA", size)
    ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def artwork(path: Path) -> Artwork:
    return Artwork("test-thing", "cat", "test", "CC0-1.0", file=path)


def icons(tmp_path: Path, tree: dict, name: str = "iconify-json-fake-1.0.0.tgz") -> Path:
    payload = json.dumps(tree).encode()
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        member = tarfile.TarInfo("package/icons.json")
        member.size = len(payload)
        archive.addfile(member, io.BytesIO(payload))
    return tmp_path / name


def test_a_cut_out_is_trimmed_to_what_is_opaque_and_never_enlarged(tmp_path: Path) -> None:
    small = render(artwork(picture_file(tmp_path / "small.png", (200, 100), (20, 30, 80, 70))))
    large = render(artwork(picture_file(tmp_path / "large.png", (2000, 900), (0, 100, 1600, 900))))
    assert (small.mode, small.size) == ("RGBA", (60, 40))
    assert large.size == (LONG_SIDE, LONG_SIDE // 2)


def test_a_disk_that_fills_up_leaves_no_half_drawing_background_or_table(tmp_path: Path, monkeypatch) -> None:
    def full(self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    source = artwork(picture_file(tmp_path / "small.png", (200, 100), (20, 30, 80, 70)))
    (tmp_path / "catalogue.json").write_text("{}")
    monkeypatch.setattr(Path, "replace", full)
    paper = backgrounds.BackgroundArtwork("paper", False, "MIT", (), lambda: Image.new("RGB", backgrounds.SIZE))
    for write in (
        lambda: write_drawing(tmp_path, source),
        lambda: write_background(tmp_path, paper),
        lambda: Catalogue(tmp_path, (), (), Vocabulary(()), "held").save(""),
    ):
        with pytest.raises(SensoriumError, match="No space left"):
            write()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"small.png", "catalogue.json"}
    assert (tmp_path / "catalogue.json").read_text() == "{}"


def test_an_empty_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9)).save(tmp_path / "empty.png")
    with pytest.raises(SensoriumError, match="test-thing"):
        render(artwork(tmp_path / "empty.png"))


def test_an_svg_is_drawn_in_its_own_view_box() -> None:
    pytest.importorskip("resvg_py")
    icon_set = IconSet({"icons": {"dot": {"body": DOT, "width": 60}}, "width": 20, "height": 20})
    picture = render(Artwork("fake-dot", "cat", "fake", "MIT", svg=icon_set.svg("dot")))
    # 60 units are 384 pixels; the circle is 10 units across.
    assert picture.size == (64, 64)
    assert dominant_colour(picture) == ("red", 1.0)


def test_a_broken_svg_is_an_error_that_names_it() -> None:
    pytest.importorskip("resvg_py")
    with pytest.raises(SensoriumError, match="fake-broken"):
        render(Artwork("fake-broken", "cat", "fake", "MIT", svg="<svg"))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 0, 0), "red"), ((255, 128, 0), "orange"), ((255, 230, 0), "yellow"), ((0, 160, 0), "green"),
        ((0, 70, 230), "blue"), ((130, 30, 180), "purple"), ((255, 150, 190), "pink"), ((110, 60, 20), "brown"),
        ((10, 10, 10), "black"), ((250, 250, 250), "white"), ((128, 128, 128), "gray"),
    ],
)  # fmt: skip
def test_the_plain_colours_have_their_plain_names(rgb: tuple[int, int, int], name: str) -> None:
    assert dominant_colour(Image.new("RGBA", (8, 8), (*rgb, 255)))[0] == name


def test_a_colour_is_named_only_when_it_covers_three_fifths() -> None:
    for red_rows, expected in ((5, None), (6, "red"), (9, "red")):
        picture = Image.new("RGBA", (10, 10), "blue")
        picture.paste((255, 0, 0, 255), (0, 0, 10, red_rows))
        assert dominant_colour(picture) == (expected, max(red_rows, 10 - red_rows) / 10)


def test_black_outlines_do_not_make_a_drawing_black() -> None:
    picture = Image.new("RGBA", (10, 10), "black")
    picture.paste((255, 128, 0, 255), (0, 0, 10, 3))
    assert dominant_colour(picture)[0] is None


def test_transparent_pixels_have_no_say() -> None:
    picture = Image.new("RGBA", (10, 10), (0, 0, 255, 60))
    picture.paste((0, 160, 0, 255), (4, 4, 6, 6))
    assert dominant_colour(picture) == ("green", 1.0)


@given(st.floats(0, 359.9), st.floats(0, 1), st.floats(0, 1))
def test_every_pixel_has_one_name_or_none_and_dark_ones_are_black(hue: float, saturation: float, value: float) -> None:
    (index,) = name_colours(np.array([hue]), np.array([saturation]), np.array([value]))
    assert 0 <= index <= len(COLOURS)
    if max(colorsys.hsv_to_rgb(hue / 360, saturation, value)) < 0.19:
        assert COLOURS[index] == "black"


def test_icons_are_found_with_and_without_hyphens_by_alias_and_by_numbered_variants() -> None:
    tree = {
        "icons": {name: {"body": DOT} for name in ("fireengine", "dog", "baby-1", "baby-2")},
        "aliases": {"hound": {"parent": "dog"}, "turned-dog": {"parent": "dog", "rotate": 2}},
    }
    icon_set = IconSet(tree)
    assert icon_set.find("fire-engine") == ["fireengine"]
    assert icon_set.find("hound") == ["dog"]
    assert icon_set.find("baby") == ["baby-1", "baby-2"]
    assert icon_set.find("turned-dog") == icon_set.find("cat") == []


def test_icons_are_read_from_the_tarball_without_unpacking(tmp_path: Path) -> None:
    assert json.loads(read_icons(icons(tmp_path, {"icons": {}}))) == {"icons": {}}


def test_a_tarball_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    icons(tmp_path, {"icons": {}})
    with pytest.raises(SensoriumError, match="sha512"):
        fetch_package(EmojiStyle("fake", "fake", "1.0.0", "AAAA", "MIT"), tmp_path)


def test_without_npm_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji.shutil, "which", lambda name: None)
    with pytest.raises(SensoriumError, match="apt install npm"):
        fetch_package(EMOJI_STYLES[0], tmp_path)


def test_at_least_four_emoji_styles_are_trained_on_and_one_is_held_out() -> None:
    styles = [style.style for style in EMOJI_STYLES]
    assert len(set(styles)) == len(styles) >= 5
    assert HELD_OUT_STYLE in styles


def test_a_missing_debian_package_is_named(tmp_path: Path) -> None:
    nowhere, vocabulary = tmp_path / "nowhere", Vocabulary.load()
    with pytest.raises(SensoriumError, match="apt install openclipart-png"):
        list(openclipart_artworks(vocabulary, nowhere))
    with pytest.raises(SensoriumError, match="apt install tuxpaint-stamps-default"):
        list(stamp_artworks(vocabulary, nowhere))
    with pytest.raises(SensoriumError, match="apt install scratch"):
        list(backgrounds.background_artworks(nowhere))


def test_listed_files_that_are_not_there_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text("animal:\n  cat: {openclipart: [a/one, a/two], stamps: [b/three]}\n")
    picture_file(tmp_path / "a" / "two.png", (9, 9), (1, 1, 8, 8))
    picture_file(tmp_path / "b" / "three.png", (9, 9), (1, 1, 8, 8))
    vocabulary = Vocabulary.load(tmp_path / "words.yaml")
    assert [art.id for art in openclipart_artworks(vocabulary, tmp_path)] == ["openclipart-a-two"]
    assert [art.id for art in stamp_artworks(vocabulary, tmp_path)] == ["stamps-b-three"]


def test_a_drawing_is_rendered_once_and_again_when_its_source_changes(tmp_path: Path) -> None:
    (tmp_path / "drawings").mkdir()
    source = picture_file(tmp_path / "source.png", (50, 50), (0, 0, 50, 50))
    first = write_drawing(tmp_path, artwork(source))
    written = (tmp_path / first.path).stat().st_mtime_ns
    assert write_drawing(tmp_path, artwork(source)) == first
    assert (tmp_path / first.path).stat().st_mtime_ns == written
    picture_file(source, (50, 50), (0, 0, 50, 50), "blue")
    second = write_drawing(tmp_path, artwork(source))
    assert (first.colour, second.colour) == ("red", "blue")
    assert first.path != second.path


def test_a_catalogue_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    drawing = Drawing("noto-cat", "cat", "noto", "drawings/noto-cat.png", "orange", 0.75, "Apache-2.0", "00")
    ground = Background("photo-moon", "backgrounds/moon.jpg", False, "CC-BY-SA-3.0", ("rock", "moon"))
    saved = Catalogue(tmp_path, (drawing,), (ground,), Vocabulary.load())
    saved.save(VOCABULARY_FILE.read_text("utf-8"))
    assert Catalogue.load(tmp_path) == saved
    assert saved.drawings_of("cat") == (drawing,)
    assert saved.drawings_of("dog") == ()


def test_a_folder_without_a_catalogue_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SensoriumError, match="no catalogue here"):
        Catalogue.load(tmp_path)


def test_backgrounds_made_here_are_repeatable_and_a_quarter_of_every_kind_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "backgrounds").mkdir()
    made = [art for art in backgrounds.background_artworks(tmp_path) if art.licence == "Apache-2.0"]
    assert len(made) >= 40
    for kind in backgrounds.TEXTURES:
        assert [art.held_out for art in made if art.name.startswith(kind)] == [False] * 6 + [True] * 2
    for art in made[::7]:
        first, second = art.paint(), art.paint()
        assert first.size == backgrounds.SIZE and first.mode == "RGB"
        assert first.tobytes() == second.tobytes()
        assert (tmp_path / write_background(tmp_path, art).path).exists()


def test_what_photographs_show_is_spelt_as_in_the_vocabulary() -> None:
    vocabulary = Vocabulary.load()
    assert all(name in vocabulary for shows in backgrounds.PHOTOGRAPHS.values() for name in shows)
    assert set(backgrounds.PHOTOGRAPHS) > backgrounds.HELD_OUT_PHOTOGRAPHS
    assert len(backgrounds.HELD_OUT_PHOTOGRAPHS) / len(backgrounds.PHOTOGRAPHS) == pytest.approx(0.25, abs=0.05)


def test_one_drawing_never_shows_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # "cricket" is a bat in one emoji set, by alias, and an insect in another.
    twice = [Artwork("noto-bat", name, "noto", "MIT", svg=DOT) for name in ("bat", "cricket bat")]
    monkeypatch.setattr(catalogue, "openclipart_artworks", lambda vocabulary: iter(()))
    monkeypatch.setattr(catalogue, "stamp_artworks", lambda vocabulary: iter(()))
    monkeypatch.setattr(catalogue, "emoji_artworks", lambda vocabulary, cache: iter(twice))
    with pytest.raises(SensoriumError, match="noto-bat draws bat already"):
        list(catalogue.collect(Vocabulary.load(), tmp_path))
