"""How much `sensorium correct` mends, how much it breaks, and what it costs, on the scenes of a dataset.

    python benchmarks/correct.py runs/scenes --split val --scenes 60                   the exact oracle
    python benchmarks/correct.py runs/scenes --split val --verifier detector --verifier colour --photographs
    python benchmarks/correct.py runs/scenes --fit src/sensorium/correction/combination.json    learn the curves (train)

`--photographs` keeps scenes whose things of COCO's classes are photographed cut-outs, which the embedded detector was
made for. `--captions FILE` writes the captions, true and with planted errors, for other tools.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sensorium.correction import VERIFIERS, Corrector, Policy, Setting
from sensorium.correction.fitting import Example, fit
from sensorium.correction.verifiers.colour import Colour
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.data.dataset import Dataset
from sensorium.data.records import Scene
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.correction import evaluate_correction, is_planted
from sensorium.evaluation.planted import Planted, captions, lettered, write_captions


def main() -> None:
    options = _options()
    vocabulary = Vocabulary.load()
    with tempfile.TemporaryDirectory() as folder:
        split = options.split or ("train" if options.fit else "val")
        if options.fit and split.startswith("test"):
            sys.exit("nothing is learned on test splits")
        scenes = list(_chosen(options, vocabulary, split, Path(folder)))
        coco = tuple(entry.name for entry in vocabulary.entries if entry.coco)
        rows = list(captions(scenes, vocabulary, options.seed, coco if options.photographs else ()))
        if options.captions:
            print(f"{write_captions(rows, options.captions)} captions written to {options.captions}")
        if options.fit:
            _learn(options, rows, Oracle.of(scenes, vocabulary))
            return
        oracle = [Oracle.of(scenes, vocabulary)]
        verifiers = [VERIFIERS[name](Setting()) for name in options.verifier] if options.verifier else oracle
        corrector = Corrector(verifiers, policy=Policy(risk=options.risk))
        began = time.perf_counter()
        only = (lambda name: name in coco or name == "sign") if options.photographs else (lambda name: True)
        scores = evaluate_correction(corrector, rows, vocabulary, _progress, only)
        took = time.perf_counter() - began
    if options.json:
        print(json.dumps({**scores.to_json(), "seconds": round(took, 1), "captions": len(rows)}))
        return
    print(f"{split}: {len(rows)} captions of {len(scenes)} scenes by {', '.join(v.name for v in verifiers)}")
    for name, value in scores.rows():
        print(f"  {name:26}{value}")
    print(f"  {'cost':26}{1000 * took / max(1, len(rows)):.0f} ms a caption; the original needs 2S+2 = "
          f"{_model_calls(rows):.1f} calls of a language model for each")  # fmt: skip
    for row, report in scores.wrong[: options.show]:
        print(f"- {row.kind}: {row.text}\n  -> {report.output}\n  true: {row.truth}")


def _chosen(options: argparse.Namespace, vocabulary: Vocabulary, split: str, folder: Path) -> Iterator[Scene]:
    taken = 0
    for scene in Dataset(options.data).scenes(split):
        if taken == options.scenes:
            return
        if options.photographs and not _is_photographed(scene, vocabulary):
            continue
        taken += 1
        yield lettered(scene, folder) if taken % 4 == 0 else scene


def _is_photographed(scene: Scene, vocabulary: Vocabulary) -> bool:
    styles = {thing.style for thing in scene.objects if thing.name in vocabulary and vocabulary[thing.name].coco}
    return styles == {"stamps"}


def _learn(options: argparse.Namespace, rows: list[Planted], oracle: Oracle) -> None:
    """Curves from train scenes. Colour looks into the true boxes: what pixels tell is no matter of the detector."""
    setting = Setting()
    corrector = Corrector([*(VERIFIERS[name](setting) for name in ("detector", "text")), Colour(oracle)])
    examples: list[Example] = []
    for number, row in enumerate(rows, start=1):
        report = corrector.correct(row.image, row.text)
        for one in report.evidence:
            claim = report.claim(one.claim)
            examples.append(Example(row.id, one, not is_planted(claim, row)))
        _progress(number, len(rows))
    n_scenes = len({row.scene for row in rows})
    about = f"{len(rows)} captions of {n_scenes} {'photographed ' if options.photographs else ''}train scenes"
    options.fit.write_text(fit(examples, about).model_dump_json(indent=1) + "\n")
    print(f"fitted on {len(examples)} pieces of evidence: {options.fit}")


def _model_calls(rows: list[Planted]) -> float:
    return sum(2 * row.text.count(".") + 2 for row in rows) / max(1, len(rows))


def _progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"{done}/{total}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--verifier", action="append", choices=sorted(VERIFIERS))
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="so many captions that went wrong")
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
