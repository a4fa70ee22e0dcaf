"""Measure a model by all that its card says of its answers, and write the card's tables.

Runs `sensorium evaluate` on our own scenes, on the benchmarks made of them, and on easy-vqa, each with a blind run, and
puts what comes out between the card's marks. What was asked before is not asked again; the words around the tables are
for a person to write.

    make scores
    python benchmarks/scores.py --scenes runs/scenes --limit 20 --card draft.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium.cli.main import app
from sensorium.evaluation.card import benchmarks_table, put_into_card, read_results
from sensorium.parts import KNOWN, fetch

FORMS = ("scenes-mme", "scenes-pope", "scenes-caption", "scenes-refcoco", "easy-vqa")
CARD = Path(__file__).parents[1] / "src" / "sensorium" / "model" / "default" / "README.md"


def main() -> None:
    options = _options()
    out: Path = options.out
    common = ["--model", options.model, "--engine", options.engine, "--precision", options.precision]
    common += ["--limit", str(options.limit)] if options.limit else []
    _sensorium("evaluate", "scenes", "--data", options.scenes, "--out", out / "scenes", *common)
    runs = []
    for name in options.forms:
        data = fetch(KNOWN["easy-vqa"].package) if name == "easy-vqa" else options.scenes
        probes = ["--probe", "no-picture", "--probe", "shuffled"]
        _sensorium("evaluate", name, "--data", data, "--out", out / name, *probes, *common)
        runs.append(read_results(out / name))
    put_into_card(options.card, "scenes", (out / "scenes" / "table.md").read_text(encoding="utf-8"))
    put_into_card(options.card, "benchmarks", benchmarks_table(runs))
    print(f"Written: {options.card}; now read what stands around the tables.")


def _sensorium(*words: object) -> None:
    print("sensorium", *words, flush=True)
    app([str(word) for word in words], standalone_mode=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--scenes", type=Path, required=True, help="a folder of `sensorium data build scenes`")
    parser.add_argument("--out", type=Path, default=Path("runs/scores"))
    parser.add_argument("--card", type=Path, default=CARD)
    parser.add_argument("--limit", type=int, default=150, help="pictures of each task; 0 for all")
    parser.add_argument("--engine", default="llamacpp", help="the engine of `chat` on a processor, if left out")
    parser.add_argument("--precision", default="float32", help="of torch")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
