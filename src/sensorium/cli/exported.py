"""What `sensorium info` tells of a folder that `sensorium export gguf` wrote, without opening the GGUF files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sensorium.cli import picture
from sensorium.cli.terminal import size_of

if TYPE_CHECKING:
    from sensorium.engine.names import Named
    from sensorium.model.fewer import Fewer


def collect(found: Named, size: tuple[int, int], fewer: Fewer | None) -> dict[str, Any]:
    """Everything that is shown, as plain data. size: of a picture.

    Raises SensoriumError when the folder is not whole, or llama.cpp cannot make visual tokens fewer in that way.
    """
    from sensorium.model.gguf_folder import TEXT, VISION, GgufFolder

    if fewer is not None:
        from sensorium.model.fewer import require_engine

        require_engine(fewer, "llamacpp")
    assert found.folder is not None
    files = GgufFolder.read(found.folder)
    return {
        "name": found.name,
        "quantization": files.quantization,
        "file_bytes": {TEXT: files.text.stat().st_size, VISION: files.vision.stat().st_size},
        **picture.shown(files.sight, size, fewer, n_layers=0),  # layers matter to ways that llama.cpp has not
        "context_length": files.context_length,
        "licence": files.licence,
        "provenance": files.provenance,
    }


def lines(content: dict[str, Any]) -> list[str]:
    """`collect` for people."""
    files = [f"  {name:<12} {size_of(n_bytes):>9}" for name, n_bytes in content["file_bytes"].items()]
    made = [f"  {key}: {value}" for key, value in content["provenance"].items()]
    return [
        content["name"],
        f"\nexported for llama.cpp, the language model in {content['quantization']}; `chat` and `serve` run it",
        *files,
        *picture.shown_lines(content),
        f"\nlicence: {content['licence'] or 'see its source'}",
        *(["\nmade by", *made] if made else []),
    ]
