"""What a picture will cost, told from its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_picture(name: str) -> bool:
    """By its ending; one that moves is a video."""
    from sensorium.media.images import SUFFIXES

    return Path(name).suffix.lower() in set(SUFFIXES) - {".gif"}


def cost(path: Path, size: tuple[int, int], content: dict[str, Any]) -> dict[str, Any]:
    """content: what `info` found of the model with a picture of that size."""
    told = ("visual_tokens", "context_length", "compression")
    return {"source": str(path), "width": size[0], "height": size[1]} | {k: content[k] for k in told if k in content}


def cost_lines(cost: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """`cost` for people."""
    way = f", {content['picture']['way']}" if "picture" in content else ""
    known = "" if "picture" in content else ", as one of 640x480 does"
    room = f", of {cost['context_length']:,} tokens that there is room for" if cost["context_length"] else ""
    lines = [str(cost["source"]), f"  {cost['width']}x{cost['height']} pixels{way}"]
    if cost["visual_tokens"]:
        lines.append(f"  takes {cost['visual_tokens']} visual tokens{made_of(content)}{known}{room}")
    return lines


def made_of(content: dict[str, Any]) -> str:
    """Of how many visual tokens, and how, where they were made fewer."""
    made = content.get("compression")
    if made and "on_average" in made:
        return f" in the prompt, {made['on_average']} on average over the layers (by {made['compressor']})"
    return f" (by {made['compressor']}, of {made['of']})" if made else ""
