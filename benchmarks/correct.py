"""How much `sensorium correct` mends, how much it breaks, and what it costs, on the scenes of a dataset.

    python benchmarks/correct.py runs/scenes --split val --scenes 60                   the exact oracle
    python benchmarks/correct.py runs/scenes --split val --verifier detector --verifier colour --photographs
    python benchmarks/correct.py runs/scenes --split val --photographs --scenes 20 --speed     seconds instead
    python benchmarks/correct.py runs/scenes --fit src/sensorium/correction/combination.json    learn the curves (train)
    python benchmarks/correct.py runs/scenes --split val --scenes 150 --verifier asked --engine default --fit FILE

Curves of named verifiers are added to what FILE knows of others; those of an engine are learned on `val`, since it may
have been trained on `train`. `--photographs` keeps scenes whose things of COCO's classes are photographed cut-outs,
which the embedded detector was made for. `--captions FILE` writes the captions, true and with planted errors, for other
tools.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sensorium
from sensorium.correction import VERIFIERS, Corrector, Policy, Setting
from sensorium.correction.combination import Combination, load_combination
from sensorium.correction.fitting import Example, fit
from sensorium.correction.verifiers.colour import Colour
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.data.dataset import Dataset
from sensorium.data.records import Scene
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.correction import evaluate_correction, is_planted
from sensorium.evaluation.planted import Planted, captions, lettered, write_captions

_FIVE = ("A cat sits on a chair. There are two dogs beside it. The cat is black. A red car is to the left of the cat. "
         "A person holds an umbrella.")  # fmt: skip


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
        setting, names = _setting(options), options.verifier or (("detector", "colour") if options.speed else ())
        verifiers = [VERIFIERS[name](setting) for name in names] or oracle
        corrector = Corrector(verifiers, policy=Policy(risk=options.risk))
        if options.speed:
            _report_speed(options, corrector, rows)
            return
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
    print(f"  {'cost':26}{1000 * took / max(1, len(rows)):.0f} ms a caption; {_original(rows)}")
    for row, report in scores.wrong[: options.show]:
        print(f"- {row.kind}: {row.text}\n  -> {report.output}\n  true: {row.truth}")
    for report, faults in scores.changed[: options.read]:
        print(f"- {report.text}\n  {report.output}" + "".join(f"\n  {fault.kind}: {fault.words}" for fault in faults))


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
    """Curves from scenes that nothing is tested on. Colour looks into the true boxes: what pixels tell is no matter of
    the detector."""
    setting, names = _setting(options), options.verifier or ("detector", "text", "colour")
    corrector = Corrector([Colour(oracle) if name == "colour" else VERIFIERS[name](setting) for name in names])
    examples: list[Example] = []
    for number, row in enumerate(rows, start=1):
        report = corrector.correct(row.image, row.text)
        for one in report.evidence:
            claim = report.claim(one.claim)
            examples.append(Example(row.id, one, not is_planted(claim, row)))
        _progress(number, len(rows))
    n_scenes = len({row.scene for row in rows})
    kind = f"{'photographed ' if options.photographs else ''}{options.split or 'train'} scenes"
    learned = fit(examples, f"{', '.join(names)}: {len(rows)} captions of {n_scenes} {kind}")
    before = load_combination(options.fit) if options.verifier and options.fit.exists() else Combination()
    options.fit.write_text(before.with_more(learned).model_dump_json(indent=1) + "\n")
    print(f"fitted on {len(examples)} pieces of evidence: {options.fit}")


def _setting(options: argparse.Namespace) -> Setting:
    return Setting(engine=sensorium.load(options.engine) if options.engine else None)


def _original(rows: list[Planted]) -> str:
    """What Woodpecker as published takes for such captions: of S sentences 2S + 2 calls of a language model and S
    passes of its detector, beside those of its answerer."""
    sentences = sum(row.text.count(".") for row in rows) / max(1, len(rows))
    return (f"the original takes 2S+2 = {2 * sentences + 2:.1f} calls of a language model and S = {sentences:.1f} "
            "passes of a detector for each")  # fmt: skip


def _report_speed(options: argparse.Namespace, corrector: Corrector, rows: list[Planted]) -> None:
    """After loading: claims on a picture not seen before, five sentences about one, and all captions in a batch."""
    pictures = list(dict.fromkeys(row.image for row in rows))
    corrector.correct(pictures.pop(), _FIVE)  # what is loaded at its first use
    first, second, again, five = [], [], [], []
    for number, picture in enumerate(pictures):
        if number % 2:
            five.append(_seconds(corrector, picture, _FIVE))
        else:
            first.append(_seconds(corrector, picture, "A cat is here."))
            second.append(_seconds(corrector, picture, "A dog is here."))
            again.append(_seconds(corrector, picture, "A dog is here."))
    setting = _setting(options)
    fresh = Corrector([VERIFIERS[name](setting) for name in options.verifier or ("detector", "colour")])
    began = time.perf_counter()
    costs = [fresh.correct(row.image, row.text).cost for row in rows]
    took = time.perf_counter() - began
    found = {
        "first_claim_ms": 1000 * statistics.median(first), "second_claim_ms": 1000 * statistics.median(second),
        "same_claim_ms": 1000 * statistics.median(again), "five_sentences_ms": 1000 * statistics.median(five),
        "captions": len(rows), "captions_a_second": len(rows) / took,
        "calls_a_caption": sum(sum(cost.calls.values()) for cost in costs) / len(rows),
    }  # fmt: skip
    if options.json:
        print(json.dumps(found))
        return
    times = found["first_claim_ms"] / found["second_claim_ms"]
    print(f"first claim about a picture {found['first_claim_ms']:.1f} ms, second {found['second_claim_ms']:.1f} ms "
          f"({times:.0f} times cheaper), the same again {found['same_claim_ms']:.1f} ms")
    print(f"five sentences about a picture {found['five_sentences_ms']:.0f} ms")
    print(f"{len(rows)} captions, {found['captions_a_second']:.1f} a second, {found['calls_a_caption']:.2f} passes of "
          f"a detector for each; {_original(rows)}")  # fmt: skip


def _seconds(corrector: Corrector, picture: str, text: str) -> float:
    began = time.perf_counter()
    corrector.correct(picture, text)
    return time.perf_counter() - began


def _progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"{done}/{total}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--verifier", action="append", choices=sorted(VERIFIERS))
    parser.add_argument("--engine", help="a model, for the verifier `asked`")
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="so many captions that went wrong")
    parser.add_argument("--read", type=int, default=0, help="so many changed captions, to read by eye")
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--speed", action="store_true", help="how long it takes instead of how well it does")
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
