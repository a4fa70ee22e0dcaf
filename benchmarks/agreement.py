"""How often do two runs of `sensorium evaluate scenes` give the very same replies, and where do they part?

For the share of greedy replies that an exported model gives as torch does:

    sensorium evaluate scenes --data runs/scenes --out a --split test_seen --no-blind --no-speech --engine torch
    sensorium evaluate scenes --data runs/scenes --out b --split test_seen --no-blind --no-speech --engine llamacpp \\
        --quantization f16
    python benchmarks/agreement.py a b
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from sensorium.evaluation.replies import read_replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, help="folders that `sensorium evaluate scenes` wrote")
    parser.add_argument("--show", type=int, default=5, help="how many replies that differ to print")
    options = parser.parse_args()
    first, second = ({row.id: row for file in sorted(run.glob("replies-*.jsonl")) for row in read_replies(file)[1]}
                     for run in options.runs)
    shared = [(row, second[id]) for id, row in first.items() if id in second]
    same: dict[str, list[bool]] = defaultdict(list)
    for one, other in shared:
        same[one.subset].append(one.reply == other.reply)
    for subset, found in [*sorted(same.items()), ("all", [one for of_subset in same.values() for one in of_subset])]:
        print(f"{subset:10} {sum(found):5} of {len(found):5} replies are the same ({sum(found) / len(found):.1%})")
    for one, other in [pair for pair in shared if pair[0].reply != pair[1].reply][: options.show]:
        print(f"  {one.id}: {one.question}\n    {one.reply}\n    {other.reply}")


if __name__ == "__main__":
    main()
