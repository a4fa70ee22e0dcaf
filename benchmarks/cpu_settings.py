"""Which settings of a processor train fastest: threads, how OpenMP's threads wait, torch.compile?

Trains our side of `train_throughput.py` once for each combination, each in a process of its own because these settings
are read when torch is loaded; round after round, so that whatever else the machine does hits all of them. Medians of
tokens a second are printed.

    python benchmarks/cpu_settings.py runs/scenes --threads 1 2
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

THROUGHPUT = Path(__file__).with_name("train_throughput.py")


def main() -> None:
    options = _options()
    settings = list(itertools.product(options.threads, ("active", "passive"), (False, True)))
    speeds: dict[tuple[int, str, bool], list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for threads, waiting, compiled in settings:
            speed = _speed(options, threads, waiting, compiled)
            speeds[threads, waiting, compiled].append(speed)
            print(f"  round {number + 1}  {_name(threads, waiting, compiled)}  {speed:6.0f} tokens/s", flush=True)
    for setting, found in sorted(speeds.items(), key=lambda item: -statistics.median(item[1])):
        print(f"{_name(*setting)}  {statistics.median(found):6.0f} tokens/s")


def _speed(options: argparse.Namespace, threads: int, waiting: str, compiled: bool) -> float:
    command = [sys.executable, str(THROUGHPUT), str(options.data), "--side", "ours", "--samples", str(options.samples)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": waiting.upper()}
    done = subprocess.run([*command, *(["--compile"] if compiled else [])], env=environment, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{_name(threads, waiting, compiled)} failed:\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["tokens"] / found["seconds"]


def _name(threads: int, waiting: str, compiled: bool) -> str:
    return f"{threads} threads, waiting {waiting:7}, {'compiled' if compiled else 'eager':8}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--samples", type=int, default=96, help="conversations to train on each time")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
