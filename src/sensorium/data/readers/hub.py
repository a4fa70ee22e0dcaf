"""`hf://` addresses -> files on this machine; local paths as they are.

`hf://datasets/owner/name@revision/path/in/it` is Hugging Face's own notation. What is named is fetched once, through
`huggingface_hub` and its cache, with its tokens and its `HF_HUB_OFFLINE`; a folder is fetched whole.
"""

from __future__ import annotations

import re
from pathlib import Path

from sensorium.errors import SensoriumError

_ADDRESS = re.compile(r"hf://(?P<kind>datasets/|spaces/)?(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<path>.*))?")


def local_path(path: str) -> Path:
    """Raises SensoriumError for a path that is not there, a wrong address, or one that the hub does not give."""
    if not path.startswith("hf://"):
        found = Path(path).expanduser().absolute()
        if not found.exists():
            raise SensoriumError(found, "does not exist.", "Check the source's `path` and `images`.")
        return found
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise SensoriumError(path, "is not a hub address.", "Write hf://datasets/owner/name@revision/file.")
    return _fetch(path, match)


def _fetch(path: str, match: re.Match[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    inside = (match["path"] or "").strip("/")
    kind = (match["kind"] or "models/").rstrip("s/")
    try:
        patterns = [inside, f"{inside}/**"] if inside else None
        folder = snapshot_download(match["repo"], repo_type=kind, revision=match["revision"], allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Check name, revision, token and network."
        raise SensoriumError(path, f"could not be fetched ({reason}).", remedy) from error
    found = Path(folder) / inside
    if not found.exists():
        raise SensoriumError(path, "is not in that repository.", "Look at its files on the hub.")
    return found
