"""Gradio, told to keep to itself before it is imported; every file of the page imports it from here.

Its own switches for that are environment variables, read while it is imported. Uploads and drawn pictures go to a
folder of this process alone, which is removed when the process ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="sensorium-page-")).resolve()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False",
    GRADIO_TEMP_DIR=str(FOLDER),
    GRADIO_EXAMPLES_CACHE=str(FOLDER),
    HF_HUB_DISABLE_TELEMETRY="1",
)

import gradio  # noqa: E402

__all__ = ["FOLDER", "gradio"]
