"""From an artwork to a cut-out: rendered, trimmed to what is opaque, shrunk to size, and its colour named.

A colour is named only when it is clear: one named colour over at least 60 % of the opaque pixels, and, for black, white
and gray, hardly anything of another (the outlines of a drawing are not its colour). The shares are taken in HSV because
that is how the names of colours are cut in English: by hue, with brown, pink, black, white and gray carved out by
saturation and brightness.
"""

from __future__ import annotations

import io
from typing import cast

import numpy as np
from PIL import Image

from sensorium.data.records import COLOURS
from sensorium.data.scenes.sources import Artwork
from sensorium.errors import SensoriumError

LONG_SIDE = 320
RENDER_SIDE = 384  # SVGs leave a margin round the drawing, which is trimmed before shrinking
RENDER_VERSION = 1  # counted up when this file would draw the same source differently
CLEAR_SHARE = 0.6
TINT_SHARE = 0.1  # as much of any other colour spoils black, white and gray
OPAQUE = 128


def render(artwork: Artwork) -> Image.Image:
    """RGBA, trimmed to its alpha box, long side at most 320. Raises SensoriumError when nothing opaque is drawn."""
    if artwork.svg is not None:
        picture = Image.open(io.BytesIO(rasterise(artwork.svg, artwork.id))).convert("RGBA")
    else:
        assert artwork.file is not None
        picture = Image.open(artwork.file).convert("RGBA")
    # Faint halos would widen the box beyond what anyone sees.
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha >= 16)).getbbox()
    if box is None:
        raise SensoriumError(artwork.id, "nothing is drawn: every pixel is transparent.")
    picture = picture.crop(box)
    scale = LONG_SIDE / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        # Premultiplied, or the colour of invisible pixels bleeds into the rim.
        picture = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    return picture


def rasterise(svg: str, where: str) -> bytes:
    """An SVG document as PNG bytes, RENDER_SIDE pixels wide; `where` names it in the SensoriumError of a broken one."""
    try:
        import resvg_py
    except ImportError as error:
        raise SensoriumError("resvg_py", "this package draws SVG and is not installed.",
                             "Install `sensorium[data]`.") from error
    try:
        return cast(bytes, resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_SIDE, skip_system_fonts=True))
    except ValueError as error:
        raise SensoriumError(where, f"this SVG cannot be drawn ({error}).", "Take it out of the vocabulary.") from error


def dominant_colour(picture: Image.Image) -> tuple[str | None, float]:
    """(the one clear colour or None, share of opaque pixels within 20 degrees of the commonest hue)."""
    rgba = np.asarray(picture.convert("RGBA")).reshape(-1, 4)
    opaque = rgba[rgba[:, 3] >= OPAQUE]
    if not len(opaque):
        return None, 0.0
    hsv = np.asarray(Image.fromarray(opaque[None, :, :3], "RGB").convert("HSV"))[0].astype(np.float32)
    hue, saturation, value = hsv[:, 0] * (360 / 256), hsv[:, 1] / 255, hsv[:, 2] / 255
    counts = np.bincount(name_colours(hue, saturation, value), minlength=len(COLOURS) + 1)
    shares = counts[: len(COLOURS)] / len(opaque)
    best = int(shares.argmax())
    is_clear = shares[best] >= CLEAR_SHARE
    if COLOURS[best] in ("black", "white", "gray"):
        is_clear = is_clear and shares.sum() - shares[best] < TINT_SHARE
    return (COLOURS[best] if is_clear else None), round(_hue_share(hue, saturation, value), 3)


def name_colours(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Indices into COLOURS of pixels given as hue in degrees, saturation and value in 0-1 (arrays of one shape).

    len(COLOURS) where no basic name is sure: beige, tan, olive, teal, pastels, and hues on a border.
    """
    edges = (12, 18, 40, 46, 66, 75, 158, 190, 255, 262, 292, 300, 345)
    unsure = len(COLOURS)
    red, orange, yellow, green, blue, purple, pink = (COLOURS.index(name) for name in COLOURS[:7])
    spans = (red, unsure, orange, unsure, yellow, unsure, green, unsure, blue, unsure, purple, unsure, pink, red)
    named = np.array(spans)[np.digitize(hue, edges)]
    named = np.where((saturation < 0.3) | (value < 0.35), unsure, named)
    warm = (hue >= 12) & (hue < 46)
    named = np.where(warm & ((saturation < 0.6) | (value < 0.8)), unsure, named)
    named = np.where(warm & (value < 0.66) & (saturation >= 0.3), COLOURS.index("brown"), named)
    reddish = (hue >= 292) | (hue < 12)
    named = np.where(reddish & (saturation < 0.6), unsure, named)
    named = np.where(reddish & (saturation >= 0.18) & (saturation < 0.52) & (value >= 0.78), pink, named)
    named = np.where((saturation < 0.12) & (value < 0.8), COLOURS.index("gray"), named)
    named = np.where((saturation < 0.1) & (value >= 0.88), COLOURS.index("white"), named)
    return np.where(value < 0.2, COLOURS.index("black"), named)


def _hue_share(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> float:
    """Of all these pixels, how many have colour and lie within 20 degrees of the commonest hue."""
    coloured = hue[(saturation >= 0.25) & (value >= 0.2)]
    if not len(coloured):
        return 0.0
    histogram = np.bincount((coloured // 5).astype(int) % 72, minlength=72)
    windows = sum(np.roll(histogram, shift) for shift in range(-4, 5))  # 9 bins of 5 degrees
    return float(np.max(windows) / len(hue))
