"""What a model's name leads to, and that it leads there everywhere a model is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import sensorium
from sensorium.engine.loading import load_engine
from sensorium.engine.names import Named, find_model
from sensorium.errors import SensoriumError


def test_a_name_leads_to_one_kind_of_model(tmp_path, monkeypatch, tiny_parts):
    ours, gguf, run = tmp_path / "ours", tmp_path / "gguf", tmp_path / "run" / "model"
    for folder in (ours, gguf, run):
        folder.mkdir(parents=True)
    for folder in (ours, run):
        (folder / "config.json").write_text(json.dumps({"format": "sensorium-1", "model": {}}))
    (gguf / "sensorium.json").write_text("{}")
    theirs = Path(tiny_parts["language"])
    assert find_model("default").kind == "sensorium"
    assert find_model(ours) == Named(str(ours), "sensorium", ours)
    assert find_model(run.parent) == Named(str(run.parent), "sensorium", run)
    assert find_model(gguf).kind == "gguf"
    assert find_model(theirs) == Named(str(theirs), "transformers", theirs)
    assert find_model("someone/some-model.v2") == Named("someone/some-model.v2", "hub")
    url = "http://localhost:11434/v1"
    assert find_model(url) == Named(url, "remote", base_url=url)
    assert find_model(f"{url}#library/llava:7b") == Named(url, "remote", base_url=url, model="library/llava:7b")
    monkeypatch.chdir(tmp_path)
    assert find_model("run/model").kind == "sensorium"
    for mistyped in ("run/modle", "runs", "./a/b", "a/b/c"):  # where a folder was meant, nothing is fetched
        with pytest.raises(SensoriumError, match="there is no such model folder"):
            find_model(mistyped)


@pytest.mark.parametrize(
    ("name", "engine", "said"),
    [
        ("default", "transformers", "is a model of Sensorium's; transformers cannot run it. Use --engine torch or"),
        ("default", "remote", "is a model of Sensorium's; remote cannot run it"),
        ("http://127.0.0.1:9/v1", "torch", "is an address; torch cannot run it. Use --engine remote, or leave"),
        ("someone/model", "llamacpp", "is a model of the hub; llamacpp cannot run it. Use --engine transformers"),
        ("LANGUAGE", "torch", "is a folder of transformers'; torch cannot run it"),
        ("someone/model", None, "is no folder here, and cannot be fetched from the hub .* Check the name and the netw"),
    ],
)
def test_an_engine_that_cannot_run_a_model_is_refused(tiny_parts, tmp_path, monkeypatch, name, engine, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SensoriumError, match=said):
        load_engine(tiny_parts["language"] if name == "LANGUAGE" else name, engine=engine)


@pytest.mark.parametrize("engine", ["auto", "transformers"])
def test_a_folder_of_transformers_is_loaded_by_its_name(tiny_parts, engine):
    loaded = sensorium.load(tiny_parts["language"], engine=engine)
    assert type(loaded).__name__ == "TransformersEngine" and loaded.card.name == tiny_parts["language"]


def test_an_address_is_loaded_without_torch(process_free_of_torch):
    assert process_free_of_torch == "RemoteEngine told"


@pytest.fixture
def process_free_of_torch(told_address: str) -> str:
    """What a process of its own prints that loads an address and then looks whether torch is there."""
    import subprocess

    code = (
        "import sys, sensorium; engine = sensorium.load(sys.argv[1], api_key='k');"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules), 'heavy';"
        "print(type(engine).__name__, engine.card.name)"
    )
    words = [sys.executable, "-c", code, f"{told_address}/v1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def told_address():
    """Our server before an engine that does what it is told; it wants the key `k`."""
    pytest.importorskip("openai", reason="the remote engine is an extra")
    from ..serving.conftest import Told, served

    with served(Told(), keys=("k",)) as address:
        yield address


def test_commands_take_an_address(told_address, tmp_path, monkeypatch, capsys):
    """The key comes from the environment, as OpenAI's own client has it, or by name."""
    from sensorium.cli.main import run

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sensorium", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    asked = ("chat", f"{told_address}/v1#told", "-q", "Hi")
    assert command(*asked, "--api-key", "k")[:2] == (0, "one two three\n")
    code, _, error = command(*asked, "--api-key", "wrong")
    assert code == 2 and "does not accept the key" in error and "wrong" not in error
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert command(*asked)[:2] == (0, "one two three\n")
    assert json.loads(command(*asked, "--json")[1])["tokens"] == {"prompt": 10, "reply": 3}
    card = json.loads(command("info", f"{told_address}/v1", "--json")[1])
    assert (card["name"], card["context_length"], card["visual_tokens"]) == ("told", 1000, 64)
    code, _, error = command("chat", f"{told_address}/v1#tld", "-q", "Hi")
    assert code == 2 and "has no model `tld`. Did you mean `told`?" in error


def test_info_shows_a_folder_of_transformers(tiny_parts, monkeypatch, capsys):
    from sensorium.cli.main import run

    monkeypatch.setattr(sys, "argv", ["sensorium", "info", tiny_parts["language"]])
    with pytest.raises(SystemExit):
        run()
    out = capsys.readouterr().out
    assert "takes text\n" in out and "512 tokens of a conversation at most" in out and "LlamaForCausalLM" in out
