"""What a picture will cost, told from its header or its size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.media.sight import Sight
    from sensorium.media.views import Views
    from sensorium.model.fewer import Fewer


def is_picture(name: str) -> bool:
    """By its ending; one that moves is a video."""
    from sensorium.media.images import READ_SUFFIXES

    return Path(name).suffix.lower() in set(READ_SUFFIXES) - {".gif"}


def require_drawable(path: Path) -> None:
    """Raises SensoriumError when no picture can be written there."""
    from sensorium.media.images import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise SensoriumError(path, f"`{path.suffix}` is no picture format.", f"End it in {', '.join(SUFFIXES)}.")
    if not path.absolute().parent.is_dir():
        raise SensoriumError(path, "its folder does not exist.", "Make the folder, or choose another.")
    if path.is_dir():
        raise SensoriumError(path, "is a folder.", "Name a file for the picture.")


def cost(path: Path, size: tuple[int, int], content: dict[str, Any]) -> dict[str, Any]:
    """content: what `info` found of the model with a picture of that size."""
    told = ("visual_tokens", "context_length", "compression")
    return {"source": str(path), "width": size[0], "height": size[1]} | {k: content[k] for k in told if k in content}


def shown(sight: Sight, size: tuple[int, int], fewer: Fewer | None, n_layers: int) -> dict[str, Any]:
    """How a model shows a picture of that size, and what it takes in the prompt. n_layers: of the language model."""
    views = sight.views(size)
    n_tokens, compressed = (len(views.layout), {}) if fewer is None else _with_fewer(fewer, sight, n_layers, views)
    return {
        "picture": {
            "width": size[0], "height": size[1], "views": len(views), "view": list(views.size),
            "way": sight.in_words(size), "any_size": not sight.config.depends_on_size,
        },
        "visual_tokens": n_tokens,
    } | compressed


def shown_lines(content: dict[str, Any]) -> list[str]:
    """`shown` for people, of content that tells the context length as well."""
    picture = content["picture"]
    tokens = f"{content['visual_tokens']} visual tokens{made_of(content)}"
    return [
        f"\na picture of {picture['width']}x{picture['height']}",
        f"  is {picture['way']}{', whatever its size' * picture['any_size']},",
        f"  and takes {tokens}{', as every picture does' * picture['any_size']}",
        f"  of the {content['context_length']:,} tokens that a conversation may have",
    ]


def _with_fewer(fewer: Fewer, sight: Sight, n_layers: int, views: Views) -> tuple[int, dict[str, Any]]:
    """What a picture shown so takes in the prompt, and how it was made that few; nothing of that where it was not.

    Raises SensoriumError where the model cannot be asked for so few.
    """
    from sensorium.media.sight import USUAL_PICTURE
    from sensorium.model.compressors import Compression

    whole = len(views.layout)
    if isinstance(fewer, Compression):
        made = {"compressor": fewer.method, "of": whole}
        return fewer.count(views), {"compression": made} if fewer.is_needed(views) else {}
    # Shares are fitted to a usual picture; what is dropped between layers still stands in the prompt.
    dropping = fewer.fitted(n_layers, len(sight.views(USUAL_PICTURE).layout))
    seen = len(views.order)
    average = sum(dropping.counts(seen, n_layers)) / n_layers
    made = {"compressor": fewer.method, "of": whole, "on_average": round(average, 1)}
    return whole, {"compression": made} if average < seen else {}


def cost_lines(cost: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """`cost` for people."""
    way = f", {content['picture']['way']}" if "picture" in content else ""
    known = "" if {"picture", "size"} & content.keys() else ", as one of 640x480 does"
    room = f", of {cost['context_length']:,} tokens that there is room for" if cost["context_length"] else ""
    lines = [str(cost["source"]), f"  {cost['width']}x{cost['height']} pixels{way}"]
    if cost["visual_tokens"]:
        lines.append(f"  takes {cost['visual_tokens']} visual tokens{made_of(content)}{known}{room}")
    return lines


def made_of(content: dict[str, Any]) -> str:
    """Of how many visual tokens, and how, where they were made fewer."""
    made = content.get("compression")
    if made and "on_average" in made:
        return f" in the prompt, {made['on_average']:g} on average over the layers (by {made['compressor']})"
    return f" (by {made['compressor']}, of {made['of']})" if made else ""
