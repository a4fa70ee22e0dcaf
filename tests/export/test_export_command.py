"""`sensorium export`: what it says, to people and to programs."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app, run
from sensorium.model.checkpoint import read_config


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `sensorium` in this process: (exit code, standard output, standard error)."""

    def ran(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what fixtures said
        monkeypatch.setattr("sys.argv", ["sensorium", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return ran


def test_a_model_is_exported_and_talked_with(command, adapted, tmp_path, photo):
    code, out, err = command("export", "hf", adapted, tmp_path / "out")
    assert code == 0 and out.startswith(f"{tmp_path / 'out'}: ") and f"sensorium chat {tmp_path / 'out'}" in err
    (tmp_path / "photo.png").write_bytes(photo)
    asked = ("-i", tmp_path / "photo.png", "-q", "What is it?", "--max-new-tokens", "8")
    replies = [command("chat", folder, *asked)[:2] for folder in (adapted, tmp_path / "out")]
    assert replies[0] == replies[1] and replies[0][0] == 0


def test_programs_get_one_object(command, adapted, tmp_path):
    code, out, _ = command("export", "hf", adapted, tmp_path / "out", "--dtype", "bfloat16", "--json")
    found = json.loads(out)
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert code == 0
    assert found == {"folder": str(tmp_path / "out"), "format": "sensorium", "dtype": "bfloat16", "bytes": n_bytes}
    assert read_config(tmp_path / "out")[0].lora is None


def test_what_llava_has_no_place_for_is_one_line(command, adapted, tmp_path):
    code, out, err = command("export", "hf", adapted, tmp_path / "out", "--format", "llava")
    assert code == 2 and out == ""
    assert err.startswith("error: connector: is `pixel_shuffle`; LLaVA has `mlp` of depth 2.") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_help_shows_how():
    text = CliRunner().invoke(app, ["export", "hf", "--help"]).output
    assert "sensorium export hf runs/mine exports/mine" in text and "--format" in text


def test_gguf_files_are_written_and_talked_with(command, adapted, tmp_path, photo):
    code, out, err = command("export", "gguf", adapted, tmp_path / "out", "--quantization", "f16", "--json")
    found = json.loads(out)
    assert code == 0 and found["text"] == str(tmp_path / "out" / "model.gguf") and found["quantization"] == "f16"
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found["bytes"] == n_bytes
    pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    (tmp_path / "photo.png").write_bytes(photo)
    asked = ("-i", tmp_path / "photo.png", "-q", "What is it?", "--max-new-tokens", "8")
    code, out, err = command("chat", tmp_path / "out", *asked)
    assert code == 0 and out
    code, out, err = command("chat", tmp_path / "out", "--engine", "torch", *asked)
    assert code == 2 and "was exported for llama.cpp" in err and err.count("\n") == 1


def test_an_unknown_quantization_is_one_line(command, adapted, tmp_path):
    code, out, err = command("export", "gguf", adapted, tmp_path / "out", "--quantization", "q5_k")
    assert code == 2 and out == "" and err.startswith("error: quantization: `q5_k` is not known.")
