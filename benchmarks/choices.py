"""Which parts and settings should the default have? A short training of each choice, on the same pictures and seed.

Two groups. `warm` runs the word warm-up alone and reads how many visual tokens point at the right words on new pictures
(the tokens of 4x4 shuffling cover four times the area, so their rows are not one question with the others). `replies`
lets a short `instruct` stage follow and reads how many tokens and whole answers are right: there every choice answers
the same questions. It starts from the warm row of the same model and the same warm-up, which is trained first where it
is not there yet, so that a choice costs its `instruct` stage only. What has finished is not trained again, and what was
stopped goes on.

    python benchmarks/choices.py runs/scenes --out runs/choices
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]
RECIPE = Path(__file__).parents[1] / "recipes" / "default.yaml"
WARM = ("named_right", "colour_right", "count_right", "place_right", "size_right")
REPLIES = ("loss", "tokens_right", "answers_right")


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    for group, choices, columns in (("warm", WARM_CHOICES, WARM), ("replies", REPLY_CHOICES, REPLIES)):
        if group not in options.groups:
            continue
        print("| " + " | ".join([group, *(name.replace("_", " ") for name in columns)]) + " |")
        print("|---" * (1 + len(columns)) + "|")
        for name, change in choices.items():
            tree = _recipe(options, group)
            change(tree)
            if group == "replies":
                _start_warm(tree, options)
            found = _train(tree, options.out, _run_name(group, name))
            print("| " + " | ".join([name, *(f"{found[column]:.3f}" for column in columns)]) + " |", flush=True)


def _start_warm(tree: Tree, options: argparse.Namespace) -> None:
    """Let a recipe of two stages start from the warm row that has its first one, so that only the second is left."""
    if tree["stages"][0]["objective"] != "words":
        return
    for name, change in WARM_CHOICES.items():
        warm = _recipe(options, "warm")
        change(warm)
        if (warm["model"], warm["stages"]) == (tree["model"], tree["stages"][:1]):
            _train(warm, options.out, _run_name("warm", name))
            tree |= {"start": str(options.out / _run_name("warm", name)), "stages": tree["stages"][1:]}
            del tree["model"]
            return


def _run_name(group: str, choice: str) -> str:
    return f"{group}-{re.sub('[^a-z0-9]+', '-', choice)}"


def _recipe(options: argparse.Namespace, group: str) -> Tree:
    """The default's recipe, shortened."""
    tree = yaml.safe_load(RECIPE.read_text())
    stages = {stage["name"]: stage for stage in tree["stages"]}
    stages["warm"]["samples"], stages["instruct"]["samples"] = options.warm, options.instruct
    tree["stages"] = [stages["warm"]] if group == "warm" else [stages["warm"], stages["instruct"]]
    tree |= {"data": str(options.data), "validate_every": 10_000, "validation_samples": options.validation}
    return tree


def _train(tree: Tree, out: Path, name: str) -> dict[str, float]:
    """Train, and return what the last validation found. Raises SystemExit with the trainer's words when it fails."""
    recipe, run = out / f"{name}.yaml", out / name
    tree["name"] = name
    recipe.write_text(yaml.safe_dump(tree, sort_keys=False))
    if not (run / "model").exists():
        command = [sys.executable, "-m", "sensorium", "train", str(recipe), "--out", str(run), "--plain"]
        with (out / f"{name}.log").open("a") as log:
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
                raise SystemExit(f"{name} failed; see {log.name}")
    rows = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return next(row["validation"] for row in reversed(rows) if "validation" in row)


def _vision(**changes: object) -> Callable[[Tree], None]:
    return lambda tree: tree["model"]["vision"].update(changes)


def _shuffle(factor: int) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree["model"]["connector"]["factor"] = factor
        tree["stages"][0]["batch"] = {"max_tokens": 2048 * 4 // factor**2}  # as many pictures a step
    return change


def _frozen(tree: Tree) -> None:
    tree["model"]["vision"]["tail_blocks"] = 0
    del tree["stages"][0]["learning_rates"]["vision"]


def _rates(factor: float) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        rates = tree["stages"][-1]["learning_rates"]
        rates.update({module: rate * factor for module, rate in rates.items()})
    return change


def _tasks(**shares: float) -> Callable[[Tree], None]:
    return lambda tree: tree["stages"][-1].update(tasks=shares)


def _rank(rank: int) -> Callable[[Tree], None]:
    return lambda tree: tree["stages"][-1].update(lora={"rank": rank, "alpha": 2 * rank})


def _without_warm_up(tree: Tree) -> None:
    del tree["stages"][0]


def _as_it_is(tree: Tree) -> None:
    pass


WARM_CHOICES: dict[str, Callable[[Tree], None]] = {
    "as the recipe has it": _as_it_is,
    "16 visual tokens": _shuffle(4),
    "half the rates": _rates(0.5),
    "double rates": _rates(2.0),
    "no fresh norm": _vision(fresh_norm=False),
    "cut after block 9, only 10 trained": _vision(tail_blocks=1),
    "cut after block 9, nothing after it": _frozen,
    "cut after block 7, 8 and 9 trained": _vision(layer=8),  # another cut, other features: a row takes longer
    "cut after block 10, 11 trained": _vision(layer=11, tail_blocks=1),
}
REPLY_CHOICES: dict[str, Callable[[Tree], None]] = {
    "as the recipe has it": _as_it_is,
    "16 visual tokens": _shuffle(4),
    "rank 8": _rank(8),
    "rank 32": _rank(32),
    "half the rates": _rates(0.5),
    "double rates": _rates(2.0),
    "more chats": _tasks(chat=0.74, drill=0.10, caption=0.14, text=0.02),
    "more drills": _tasks(chat=0.20, drill=0.68, caption=0.10, text=0.02),
    "more captions": _tasks(chat=0.24, drill=0.14, caption=0.60, text=0.02),
    "without warm-up": _without_warm_up,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--out", type=Path, default=Path("runs/choices"))
    parser.add_argument("--groups", nargs="+", choices=("warm", "replies"), default=("warm", "replies"))
    parser.add_argument("--warm", type=int, default=16_000, help="pictures of word warm-up")
    parser.add_argument("--instruct", type=int, default=1_600, help="conversations after it")
    parser.add_argument("--validation", type=int, default=300, help="samples to validate on")
    return parser.parse_args()


if __name__ == "__main__":
    main()
