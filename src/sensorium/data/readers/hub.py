"""`hf://` addresses -> files on this machine, or files that stay on the hub and are read in pieces.

`hf://datasets/owner/name@revision/path/in/it` is Hugging Face's own notation. `local_path` fetches what is named once,
through `huggingface_hub` and its cache, a folder whole; `hub_files` only lists, and a piece of a file is fetched when
it is read. Both go with its tokens, its `HF_ENDPOINT` and its `HF_HUB_OFFLINE`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.parts import cache_root

_ADDRESS = re.compile(r"hf://(?P<kind>datasets/|spaces/)?(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<path>.*))?")


def local_path(path: str) -> Path:
    """Raises SensoriumError for a path that is not there, a wrong address, or one that the hub does not give."""
    if not path.startswith("hf://"):
        found = Path(path).expanduser().absolute()
        if not found.exists():
            raise SensoriumError(found, "does not exist.", "Check the source's `path` and `images`.")
        return found
    return _fetch(path, _parsed(path))


@dataclass(frozen=True)
class HubFile:
    """A file on the hub. address: with the commit, so that what is read is what was listed. mark: its content's hash,
    or its address where the hub knows none.
    """

    address: str
    size: int
    mark: str

    def open(self) -> BinaryIO:
        """It, for reading at any place: each read fetches its own bytes and no more."""
        return cast(BinaryIO, _file_system().open(self.address, "rb", cache_type="none", block_size=1 << 20))


def hub_files(path: str, ending: str) -> list[HubFile]:
    """The files at or below a hub address whose names end so, by name.

    The list is kept: where the network is not to be had, it is the one that was found before. Raises SensoriumError for
    an address that is none or where nothing lies, and without network for what was never listed.
    """
    match = _parsed(path)
    kept = cache_root() / "hub" / f"{hashlib.sha256(f'{path} {ending}'.encode()).hexdigest()[:32]}.json"
    try:
        found = _listed(match, ending)
    except unreachable() as error:
        if kept.exists() and getattr(error, "response", None) is None:  # else the hub itself has refused
            return [HubFile(**one) for one in json.loads(kept.read_bytes())]
        raise _not_fetched(path, error) from error
    except (OSError, ValueError) as error:
        raise _not_fetched(path, error) from error
    if not found:
        raise SensoriumError(path, f"has no file `*{ending}` in that repository.", "Look at its files on the hub.")
    write_whole(kept, json.dumps([asdict(file) for file in found]))
    return found


def unreachable() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises where the network, or the hub, does not give what was asked for."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the library under it

    return HTTPError, ConnectionError, TimeoutError


def in_a_line(error: Exception) -> str:
    """What an error says, on one line of bearable length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _listed(match: re.Match[str], ending: str) -> list[HubFile]:
    from huggingface_hub import HfApi

    kind, repo, inside = _kind(match), match["repo"], (match["path"] or "").strip("/")
    commit = HfApi().repo_info(repo, repo_type=kind, revision=match["revision"]).sha
    root = f"hf://{match['kind'] or ''}{repo}@{commit}"
    entries: dict[str, Any] = _file_system().find(f"{root}/{inside}".rstrip("/"), detail=True)
    files = []
    for name, entry in sorted(entries.items()):
        if name.endswith(ending):
            hashed = entry.get("xet_hash") or entry.get("blob_id")
            files.append(HubFile(f"hf://{name}", entry["size"], str(hashed or f"hf://{name}")))
    return files


def _file_system() -> Any:
    from huggingface_hub import HfFileSystem

    # None that was made before: it keeps lists, and in another thread or a forked process its connections.
    return HfFileSystem(skip_instance_cache=True)


def _parsed(path: str) -> re.Match[str]:
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise SensoriumError(path, "is not a hub address.", "Write hf://datasets/owner/name@revision/file.")
    return match


def _kind(match: re.Match[str]) -> str:
    return (match["kind"] or "models/").rstrip("s/")


def _not_fetched(path: str, error: Exception) -> SensoriumError:
    what = f"could not be fetched ({in_a_line(error)})."
    return SensoriumError(path, what, "Check name, revision, token and network.")


def _fetch(path: str, match: re.Match[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    inside = (match["path"] or "").strip("/")
    kind = _kind(match)
    try:
        patterns = [inside, f"{inside}/**"] if inside else None
        folder = snapshot_download(match["repo"], repo_type=kind, revision=match["revision"], allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise _not_fetched(path, error) from error
    found = Path(folder) / inside
    if not found.exists():
        raise SensoriumError(path, "is not in that repository.", "Look at its files on the hub.")
    return found
