"""A part is found by its name, fetched once with pip, checked by its hash, and is in the cache whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from sensorium.errors import SensoriumError
from sensorium.parts import KNOWN, PackagePart, cache_root, fetch, is_fetched, licence_of, locate, parse_part, verify
from sensorium.parts.cache import derived, whole_or_nothing

CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = PackagePart("tiny-weights", "1.2", "tiny_weights/model.bin", SHA256)


@pytest.fixture(autouse=True)
def _cache(own_cache):
    """No test here may touch the user's cache."""


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A package index of one wheel in a folder, and no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with zipfile.ZipFile(folder / "tiny_weights-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/model.bin", CONTENT)
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('imported!')")
        info = "tiny_weights-1.2.dist-info"
        about = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\nRequires-Dist: nowhere"
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def test_a_name_leads_to_a_folder_a_hub_id_a_package_or_a_known_part(tmp_path):
    assert parse_part(str(tmp_path)).kind == "folder"
    assert parse_part("HuggingFaceTB/SmolLM2-135M").kind == "hub"
    assert parse_part("dinov2-small").package == KNOWN["dinov2-small"].package
    assert parse_part("package:a-b==1.0/c/d.bin").package == PackagePart("a-b", "1.0", "c/d.bin")


def test_the_long_name_of_a_known_part_brings_its_pinned_hash():
    known = KNOWN["smollm2-135m-instruct"].package
    assert known.sha256 and parse_part(known.spec).package == known


@pytest.mark.parametrize(
    "name", ["dinov2-smal", "/no/such/folder", "package:a-b/c", "package:a==1//etc/passwd", "package:a==1/../../x", ""]
)
def test_a_name_that_leads_nowhere_is_refused(name):
    with pytest.raises(SensoriumError, match="is neither a folder, nor a hub id"):
        parse_part(name)


def test_a_misspelt_known_part_is_suggested():
    with pytest.raises(SensoriumError, match="Did you mean `dinov2-small`"):
        parse_part("dinov2-smal")


def test_a_folder_and_a_hub_id_are_located_as_they_are(tmp_path):
    assert locate(str(tmp_path)) == tmp_path
    assert locate("user/name") == "user/name"


def test_a_part_is_fetched_checked_and_kept_and_nothing_else_is(index, own_cache):
    told = []
    path = fetch(PART, lambda what, done, total: told.append(what))
    assert path.read_bytes() == CONTENT and path == PART.path
    assert _files(own_cache) == ["parts/tiny-weights-1.2/tiny_weights/model.bin"]
    assert told[0] == "fetching tiny-weights==1.2"
    assert verify(PART) == SHA256


def test_what_is_in_the_cache_needs_no_pip(index, monkeypatch):
    path = fetch(PART)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("pip was called"))
    assert fetch(PART) == path
    assert locate(PART.spec) == path


def test_a_wrong_hash_is_refused_and_leaves_nothing(index, own_cache):
    wrong = PackagePart(PART.name, PART.version, PART.file, "0" * 64)
    with pytest.raises(SensoriumError, match=rf"its sha256 is {SHA256[:12]}…, expected 000000000000…"):
        fetch(wrong)
    assert _files(own_cache) == [] and not is_fetched(wrong)


def test_a_file_altered_in_the_cache_is_found_by_verify(index):
    path = fetch(PART)
    path.write_bytes(b"other")
    with pytest.raises(SensoriumError, match="its sha256 is"):
        verify(PART)
    path.unlink()
    with pytest.raises(SensoriumError, match=r"is not in the cache. Run `sensorium parts fetch`"):
        verify(PART)


def test_a_file_that_the_package_lacks_is_named(index, own_cache):
    with pytest.raises(SensoriumError, match=r"tiny_weights-1.2-py3-none-any.whl has no such file"):
        fetch(PackagePart(PART.name, PART.version, "tiny_weights/other.bin"))
    assert _files(own_cache) == []


def test_no_such_release_says_what_pip_said_and_what_to_do(index, own_cache):
    with pytest.raises(SensoriumError, match=r"tiny-weights==9.9: pip could not fetch it .*check the network"):
        fetch(PackagePart(PART.name, "9.9", PART.file))
    assert _files(own_cache) == []


def test_no_network_is_one_clear_error(monkeypatch, own_cache):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(SensoriumError, match="The first start needs a package index"):
        fetch(PART)
    assert _files(own_cache) == []


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    monkeypatch.delenv("SENSORIUM_CACHE")
    assert cache_root().name == "sensorium"


def test_a_folder_that_fails_halfway_vanishes(tmp_path):
    with pytest.raises(RuntimeError), whole_or_nothing(tmp_path / "target") as scratch:
        (scratch / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_disk_error_names_the_folder_and_leaves_nothing(tmp_path):
    with pytest.raises(SensoriumError, match=r"target: cannot be written \(No space left"), whole_or_nothing(
        tmp_path / "target"
    ) as scratch:
        (scratch / "half").write_text("x")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_a_file_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "file"))
    with pytest.raises(SensoriumError, match=r"cannot be written .*SENSORIUM_CACHE"):
        derived("thing", "ab" * 32, lambda folder: None)


def test_who_comes_second_takes_the_first_ones_folder(tmp_path):
    with whole_or_nothing(tmp_path / "target") as mine:
        (mine / "who").write_text("second")
        with whole_or_nothing(tmp_path / "target") as theirs:
            (theirs / "who").write_text("first")
    assert (tmp_path / "target" / "who").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_derived_folder_is_built_once_for_each_content():
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "made").write_text("x")

    first = derived("thing-1", "ab" * 32, build)
    assert derived("thing-1", "ab" * 32, build) == first and (first / "made").exists()
    assert derived("thing-1", "cd" * 32, build) != first
    assert len(built) == 2
    whole = (first / "made").read_bytes()
    (first / "made").write_bytes(whole + b"cut or longer")
    assert (derived("thing-1", "ab" * 32, build) / "made").read_bytes() == whole
    (first / "made").unlink()
    assert (derived("thing-1", "ab" * 32, build) / "made").read_bytes() == whole
    assert len(built) == 4


def test_known_parts_are_pinned_licensed_and_have_a_role():
    for part in KNOWN.values():
        assert part.package.sha256 and len(part.package.sha256) == 64
        assert part.licence and part.role in ("vision", "language", "detector", "parser", "benchmark")


def test_a_talkative_pip_does_not_stand_still(index, tmp_path, monkeypatch):
    """More complaints than a pipe holds, before the first line of progress."""
    pip = tmp_path / "pip.py"
    pip.write_text("import sys\nprint('warning: hm\\n' * 100_000 + 'ERROR: no luck.', file=sys.stderr)\nsys.exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SensoriumError, match=r"pip could not fetch it \(no luck\)"):
        fetch(PART)


def test_a_damaged_wheel_is_one_clear_error(index, own_cache):
    wheel = index / "tiny_weights-1.2-py3-none-any.whl"
    part = PackagePart(PART.name, PART.version, PART.file)
    damaged = bytearray(wheel.read_bytes())
    damaged[damaged.find(CONTENT[:8])] ^= 1  # inside the one file: its checksum is no longer right
    wheel.write_bytes(damaged)
    with pytest.raises(SensoriumError, match=r"tiny_weights-1.2-py3-none-any.whl is damaged .*Fetch it again"):
        fetch(part)
    assert _files(own_cache) == []


def test_the_licence_of_a_known_part_is_known_by_either_name():
    known = KNOWN["smollm2-135m-instruct"]
    assert licence_of("smollm2-135m-instruct") == licence_of(known.package.spec) == "Apache-2.0"
    assert licence_of("user/name") == ""


def _folder_sha256(files: dict[str, bytes]) -> str:
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


FOLDER = {"deep/b.bin": b"bee", "model.bin": CONTENT}


def test_a_folder_of_a_package_is_a_part_with_one_hash(index, own_cache):
    with zipfile.ZipFile(index / "tiny_weights-1.2-py3-none-any.whl", "a") as wheel:
        wheel.writestr("tiny_weights/data/model.bin", CONTENT)
        wheel.writestr("tiny_weights/data/deep/b.bin", b"bee")
    part = PackagePart("tiny-weights", "1.2", "tiny_weights/data/", _folder_sha256(FOLDER))
    assert parse_part("package:tiny-weights==1.2/tiny_weights/data/").package.is_folder
    path = fetch(part)
    assert _files(path) == ["deep/b.bin", "model.bin"] and is_fetched(part) and verify(part) == part.sha256
    (path / "deep" / "b.bin").write_bytes(b"wasp")
    with pytest.raises(SensoriumError, match="its sha256 is"):
        verify(part)


@pytest.mark.parametrize("file", ["tiny_weights/none/", "tiny_weights/model.bin/"])
def test_a_folder_that_the_package_lacks_is_named(index, own_cache, file):
    with pytest.raises(SensoriumError, match="has no such folder"):
        fetch(PackagePart("tiny-weights", "1.2", file))
    assert _files(own_cache) == []


def test_a_wheel_cannot_write_outside_the_folder(index, own_cache):
    with zipfile.ZipFile(index / "tiny_weights-1.2-py3-none-any.whl", "a") as wheel:
        wheel.writestr("tiny_weights/data/../../../out.bin", b"out")
    with pytest.raises(SensoriumError, match="leads out of its folder"):
        fetch(PackagePart("tiny-weights", "1.2", "tiny_weights/data/"))
    assert _files(own_cache) == []
