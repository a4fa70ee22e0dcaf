"""Which settings of a processor train fastest: threads, how OpenMP's threads wait, torch.compile?

Trains our side of `train_throughput.py` once for each setting, each in a process of its own because these settings are
read when torch is loaded; round after round, so that whatever else the machine does hits all of them. Medians of tokens
a second are printed, the fastest first, and how far what `sensorium train` does by itself stays behind it: torch's own
number of threads, OpenMP's own way of waiting, no compilation.

    python benchmarks/cpu_settings.py runs/scenes

Some five minutes a round on two cores; leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from plain import few_scenes

from sensorium.data.dataset import Dataset

THROUGHPUT = Path(__file__).with_name("train_throughput.py")


class Setting(NamedTuple):
    """threads: 0 for torch's choice; waiting: OMP_WAIT_POLICY, empty for OpenMP's own."""

    threads: int = 0
    waiting: str = ""
    is_compiled: bool = False

    def __str__(self) -> str:
        threads = f"{self.threads} threads" if self.threads else "torch's threads"
        waiting, compiled = self.waiting or "as OpenMP does", "compiled" if self.is_compiled else "eager"
        return f"{threads:15}  waiting {waiting:14}  {compiled}"

    @property
    def environment(self) -> dict[str, str]:
        """This process's, less its own settings, with these."""
        kept = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
        given = {"OMP_NUM_THREADS": str(self.threads or ""), "OMP_WAIT_POLICY": self.waiting.upper()}
        return kept | {key: value for key, value in given.items() if value}


HOUSE = Setting()


def main() -> None:
    options = _options()
    settings = [HOUSE, Setting(waiting="active"), Setting(waiting="passive"), Setting(is_compiled=True)]
    settings += [Setting(threads=threads) for threads in options.threads]
    speeds: dict[Setting, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        data = few_scenes(options.data, Path(scratch), options.samples)
        _speed(data, options.samples, HOUSE)  # fills the caches that all the others find
        for number in range(options.rounds):
            for setting in settings:
                speed = _speed(data, options.samples, setting)
                speeds[setting].append(speed)
                print(f"  round {number + 1}  {setting!s:58}  {speed:6.0f} tokens/s", flush=True)
    medians = {setting: statistics.median(found) for setting, found in speeds.items()}
    if options.json:
        print(json.dumps([{**setting._asdict(), "tokens_per_s": speed} for setting, speed in medians.items()]))
        return
    for setting, speed in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{setting!s:58}  {speed:6.0f} tokens/s")
    print(f"what `sensorium train` does by itself reaches {medians[HOUSE] / max(medians.values()):.0%} of the fastest")


def _speed(data: Path, samples: int, setting: Setting) -> float:
    command = [sys.executable, str(THROUGHPUT), str(data), "--side", "ours", "--samples", str(samples)]
    command += ["--compile"] if setting.is_compiled else []
    done = subprocess.run(command, env=setting.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{setting} failed:\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["tokens"] / found["seconds"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--threads", type=int, nargs="*", default=[1], help="numbers of threads to try besides torch's")
    parser.add_argument("--samples", type=int, default=48, help="conversations to train on each time")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    options = parser.parse_args()
    Dataset(options.data)  # complains before anything is started
    return options


if __name__ == "__main__":
    main()
