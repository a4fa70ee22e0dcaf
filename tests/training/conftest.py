"""Trainings in several real processes, and data of three formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as PILImage

# Loads torch and the library once, and forks the processes of each training: they are started as torchrun does it, by
# what stands in their environment, and cost no second import. Each writes down the gradients of its steps.
_SERVER = """
import json, os, signal, socket, sys, traceback
from pathlib import Path
import torch
torch.set_num_threads(1)
import peft, transformers.models.llama.modeling_llama, transformers.models.dinov2.modeling_dinov2
import torch.distributed.checkpoint, torch.distributed.fsdp
from sensorium.training import loop
from sensorium.training.parallel import whole
from sensorium.training.recipe import Recipe

def held():
    # Numbers in the memory of this process, each storage once.
    import gc
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.is_floating_point() and thing.device.type == "cpu":
            storage = (thing.to_local() if hasattr(thing, "to_local") else thing).untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes() // 4
    return sum(storages.values())

def watch(run):
    # Note the most numbers held while layers are sliced, and the weights that the first step begins with.
    from sensorium.training import parallel
    real, most, rank = parallel.fully_shard, [], os.environ["RANK"]
    def noted(*args, **options):
        most.append(held())
        found = real(*args, **options)
        most.append(held())
        (run / f"held-{rank}.json").write_text(json.dumps(most))
        return found
    parallel.fully_shard = noted
    step = loop.train_step
    def first(stage, *args):
        model = stage.parallel.model
        weights = {name: whole(p.detach()).clone() for name, p in model.named_parameters()}
        if rank == "0" and not (run / "weights.pt").exists():
            torch.save(weights, run / "weights.pt")
        return step(stage, *args)
    loop.train_step = first

def work(tree, run, stop, watched):
    if watched:
        watch(run)
    real, calls = loop.train_step, []
    def step(stage, *args):
        calls.append(1)
        if len(calls) == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        update = type(stage.optimizer).step
        def noted():
            named = stage.parallel.model.named_parameters()
            found = {name: whole(p.grad).clone() for name, p in named if p.grad is not None}
            if stage.parallel.ranks.is_first:
                torch.save(found, run / f"gradients-{len(calls)}.pt")
            update(stage.optimizer)
        stage.optimizer.step = noted
        return real(stage, *args)
    loop.train_step = step
    return 0 if loop.train(Recipe.model_validate(tree), run, say=lambda line: None) else 130

for line in sys.stdin:
    job = json.loads(line)
    os.environ |= job["environment"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(job["size"]):
        child = os.fork()
        if child == 0:
            places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["size"], "MASTER_PORT": port}
            os.environ |= {key: str(value) for key, value in places.items()} | {"MASTER_ADDR": "127.0.0.1"}
            try:
                code = work(job["tree"], Path(job["run"]), job["stop"], job["watched"])
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stderr.flush()
            os._exit(code)
        children.append(child)
    codes = []
    while children:
        child, status = os.wait()
        children.remove(child)
        codes.append(os.waitstatus_to_exitcode(status))
        if codes[-1] not in (0, 130):  # the others would wait for it
            for other in children:
                os.kill(other, signal.SIGKILL)
    print(max(codes, key=lambda code: (code not in (0, 130), code)), flush=True)
"""

Train = Callable[..., int]


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    complaints = tmp_path_factory.mktemp("processes") / "stderr"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with complaints.open("w") as file, subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
        env=environment,
    ) as server:
        server.complaints = complaints  # type: ignore[attr-defined]
        yield server
        assert server.stdin is not None
        server.stdin.close()


@pytest.fixture
def processes(_server: Any, own_cache: Path) -> Train:
    """`processes(tree, run, size=2, stop=0, watched=False)`: train in so many processes, and interrupt the `stop`-th
    step of this part. Returns the exit code, 130 when interrupted; the gradients of each step are in the run's folder.
    watched: and the weights that the first one begins with, and how many numbers each process held at most before.
    """
    def train(tree: dict[str, Any], run: Path, size: int = 2, stop: int = 0, watched: bool = False) -> int:
        job = {"tree": tree, "run": str(run), "size": size, "stop": stop, "watched": watched,
               "environment": {"SENSORIUM_CACHE": str(own_cache)}}
        print(json.dumps(job), file=_server.stdin, flush=True)
        code = _server.stdout.readline().strip()
        assert code in ("0", "130"), _server.complaints.read_text()[-4000:]
        return int(code)

    return train


@pytest.fixture
def journal_rows() -> list[dict[str, Any]]:
    """A short journal of three stages."""
    return [
        {"stage": "warm", "step": 1, "loss": 5.0, "lr": {"connector": 1e-4}},
        {"stage": "warm", "step": 2, "loss": 4.0, "lr": {"connector": 2e-4}},
        {"stage": "align", "step": 1, "loss": 3.0},
        {"stage": "align", "step": 2, "loss": 2.5},
        {"stage": "align", "step": 2, "validation": {"loss": 2.6, "existence": 0.7}},
        {"stage": "align", "step": 3, "loss": 2.0},
        {"stage": "instruct", "step": 1, "loss": 1.5},
    ]


@pytest.fixture
def run_script() -> Callable[[str, Path], str]:
    """`run_script(script, folder)`: what a Python program, given a folder, prints in a process of its own."""
    def run(script: str, folder: Path) -> str:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script, folder], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


# One training in a process of its own, killed in the middle of a step if so asked.
_ALONE = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sensorium.training import loop
from sensorium.training.recipe import Recipe
tree, run, kill_at = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
real, calls = loop.train_step, []
def step(*args):
    calls.append(1)
    if len(calls) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
loop.train_step = step
print("ended", loop.train(Recipe.model_validate(tree), run, say=lambda line: None), flush=True)
"""


@pytest.fixture
def training_process() -> Callable[..., subprocess.Popen[str]]:
    """`training_process(tree, run, kill_at=0)`: a training in another process, which kills itself (-9) in that step."""
    def start(tree: dict[str, Any], run: Path, kill_at: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _ALONE, json.dumps(tree), str(run), str(kill_at)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def three_formats(tmp_path: Path) -> Path:
    """Twelve LLaVA rows, eight messages without pictures, a CSV of twelve captions, and the file that names them."""
    colours = ("red", "green", "blue", "white")
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        PILImage.new("RGB", (40 + i, 30), colours[i % 4]).save(tmp_path / "pictures" / f"{i}.png")
    rows = [{"id": f"l{i}", "image": f"{i}.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat color?"},
        {"from": "gpt", "value": f"It is {colours[i % 4]}, I think. " * (1 + i % 3)}]} for i in range(12)]
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    talks = [{"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": str(i)}]}
             for i in range(8)]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    captions = "".join(f"{i}.png,A {colours[i % 4]} square\n" for i in range(12))
    (tmp_path / "captions.csv").write_text("image,caption\n" + captions)
    sources = [{"format": "llava", "path": "mix.json", "images": "pictures"},
               {"format": "messages", "path": "talks.jsonl"},
               {"format": "csv", "path": "captions.csv", "images": "pictures", "epochs": 2}]
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"sources": sources}))
    return tmp_path
