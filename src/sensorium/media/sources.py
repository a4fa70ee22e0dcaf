"""Where the bytes of a medium come from: a path, a `data:` URL, or bytes; never a web address, never more than a limit.

Shared by pictures, videos, sounds and subtitles; what stands in the bytes is the business of each.
"""

from __future__ import annotations

import io
import re
import stat
from pathlib import Path
from typing import BinaryIO

from sensorium.conversation import decode_data_url
from sensorium.errors import SensoriumError


def open_source(source: str | Path | bytes, noun: str, max_bytes: int) -> tuple[str, BinaryIO]:
    """(what to call it in errors, its bytes as a stream that can be sought).

    noun: what is expected, such as "picture". Web addresses are refused: fetching is somebody else's decision, never a
    side effect. Raises SensoriumError when it is missing, empty, no file, or larger than max_bytes.
    """
    if isinstance(source, bytes):
        where = f"{noun} ({len(source):,} bytes)"
        _check_bytes(where, len(source), noun, max_bytes)
        return where, io.BytesIO(source)
    name = str(source)
    if name.startswith("data:"):
        _check_bytes(f"{noun} in a data URL", len(name) * 3 // 4 or 1, noun, max_bytes)
        return open_source(decode_data_url(name), noun, max_bytes)
    where = name if len(name) <= 200 else f"{name[:60]}… ({len(name):,} characters)"
    if re.match(r"https?://", name, re.IGNORECASE):
        raise SensoriumError(where, "is a web address; these are not opened.", f"Download the {noun}, give its path.")
    if scheme := re.match(r"([a-z][a-z0-9+.-]*)://", name, re.IGNORECASE):
        raise SensoriumError(where, f"has an unknown scheme, {scheme[1]}.", "Give a path or a data: URL.")
    try:
        state = Path(name).stat()
        if stat.S_ISDIR(state.st_mode):
            raise SensoriumError(where, f"is a folder; a {noun} file is expected.", "Name a file inside it.")
        if not stat.S_ISREG(state.st_mode):  # a pipe or device may never end
            raise SensoriumError(where, "is not a regular file.", f"Give a {noun} file.")
        _check_bytes(where, state.st_size, noun, max_bytes)
        return where, Path(name).open("rb")
    except FileNotFoundError as error:
        raise SensoriumError(where, "does not exist.", "Check the path.") from error
    except PermissionError as error:
        raise SensoriumError(where, "may not be read (permission denied).", "Change its permissions.") from error
    except (OSError, ValueError) as error:  # too long a name, a zero byte in it, a loop of links
        reason = getattr(error, "strerror", None) or error
        raise SensoriumError(where, f"cannot be opened ({reason}).", "Check the path.") from error


def _check_bytes(where: str, n_bytes: int, noun: str, max_bytes: int) -> None:
    if n_bytes == 0:
        raise SensoriumError(where, "is empty.", "Get the file again.")
    if n_bytes > max_bytes:
        what = f"has {n_bytes:,} bytes; at most {max_bytes:,} are allowed."
        option = " (--max-bytes)" if noun == "video" else ""  # of the commands that show videos
        raise SensoriumError(where, what, f"Make the {noun} smaller, or raise `max_bytes`{option}.")
