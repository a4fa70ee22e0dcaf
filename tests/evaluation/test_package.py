"""What importing the package costs: its names are there, and nothing heavy is behind the door."""

from __future__ import annotations

import subprocess
import sys

import sensorium.evaluation


def test_every_name_of_the_package_is_there_and_no_other():
    for name in sensorium.evaluation.__all__:
        assert getattr(sensorium.evaluation, name).__name__ == name
    assert not hasattr(sensorium.evaluation, "Estimator")


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, sensorium.evaluation; print([n for n in ('numpy', 'pydantic', 'rich') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_scoring_a_file_needs_neither_torch_nor_our_scenes():
    code = (
        "import sys; from sensorium.evaluation.scorers import SCORERS; "
        "print([n for n in ('torch', 'scipy', 'sensorium.data.scenes') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
