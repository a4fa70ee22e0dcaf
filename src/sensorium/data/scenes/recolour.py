"""Give a drawing another colour, and know what it is called.

An apple that is always red teaches "apples are red", not what red looks like. A drawing whose opaque pixels are
mostly of one hue is repainted in one of the eleven basic colours, shading kept, so that the colour is exact and says
nothing about the object. Each colour is painted well inside the range that people call by its name (Berlin and Kay's
basic terms).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

# Name -> (hue in degrees, its spread, saturation, value). Saturation and value of the middle tone, 0-1.
_PAINT: dict[str, tuple[float, float, float, float]] = {
    "red": (358, 5, 0.88, 0.85),
    "orange": (28, 3, 0.92, 0.97),
    "yellow": (54, 3, 0.85, 0.97),
    "green": (122, 18, 0.75, 0.65),
    "blue": (220, 12, 0.80, 0.85),
    "purple": (277, 7, 0.70, 0.65),
    "pink": (334, 6, 0.45, 0.98),
    "brown": (24, 4, 0.68, 0.45),
    "black": (0, 0, 0.0, 0.13),
    "white": (0, 0, 0.0, 0.95),
    "gray": (0, 0, 0.0, 0.52),
}
_GRAYS = {"black": (0.03, 0.24), "white": (0.84, 1.0), "gray": (0.38, 0.66)}  # name -> darkest, lightest value
_HUE_WINDOW = 32.0  # degrees either side of the dominant hue that are repainted
_LEAST_SATURATION, _LEAST_VALUE = 0.18, 0.18  # below these a pixel is outline, highlight or shadow and stays
_LEAST_SHARE = 0.5  # of the opaque pixels must be repainted, or the name would not be plainly true


def recolour(cutout: Image.Image, colour: str, rng: np.random.Generator) -> Image.Image | None:
    """The cut-out with its dominant hue repainted, or None where too little of it has one hue.

    cutout: RGBA; colour: one of `records.COLOURS`. Alpha is untouched.
    """
    pixels = np.asarray(cutout.convert("RGBA"), dtype=np.float32) / 255
    rgb, opaque = pixels[..., :3], pixels[..., 3] > 0.5
    hue, saturation, value = _to_hsv(rgb)
    coloured = opaque & (saturation > _LEAST_SATURATION) & (value > _LEAST_VALUE)
    if not coloured.any():
        return None
    bins = np.bincount((hue[coloured] / 10).astype(int) % 36, weights=saturation[coloured], minlength=36)
    smooth = bins + np.roll(bins, 1) + np.roll(bins, -1)
    distance = np.abs((hue - (float(smooth.argmax()) * 10 + 5) + 180) % 360 - 180)
    paint = coloured & (distance < _HUE_WINDOW)
    if paint.sum() < _LEAST_SHARE * opaque.sum():
        return None
    painted = rgb.copy()
    painted[paint] = _paint(saturation[paint], value[paint], colour, rng)
    out = np.concatenate([painted, pixels[..., 3:]], axis=-1)
    return Image.fromarray((out * 255 + 0.5).astype(np.uint8), "RGBA")


def _paint(saturation: np.ndarray, value: np.ndarray, colour: str, rng: np.random.Generator) -> np.ndarray:
    """[n, 3] colours of the named paint, with the shading of the pixels they replace."""
    hue, spread, target_saturation, target_value = _PAINT[colour]
    shade = np.clip(value / max(float(np.median(value)), 1e-3), 0.55, 1.3) ** 0.7
    depth = np.clip(saturation / max(float(np.median(saturation)), 1e-3), 0.7, 1.15) ** 0.5
    if colour in _GRAYS:
        # Light parts of a saturated drawing are its pale parts: saturation takes part in the shading of a gray.
        low, high = _GRAYS[colour]
        gray = np.clip(target_value * shade / depth**0.5, low, high)
        return np.repeat(gray[:, None], 3, axis=1).astype(np.float32)
    hues = np.full_like(value, (hue + float(rng.uniform(-spread, spread))) % 360)
    return _to_rgb(hues, np.clip(target_saturation * depth, 0.3, 1), np.clip(target_value * shade, 0.2, 1))


def _to_hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue 0-360, saturation and value 0-1 of [..., 3] in 0-1 (Smith 1978)."""
    value, low = rgb.max(axis=-1), rgb.min(axis=-1)
    chroma = value - low
    safe = np.where(chroma > 0, chroma, 1)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sector = np.where(value == r, (g - b) / safe % 6, np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
    return sector * 60 * (chroma > 0), chroma / np.where(value > 0, value, 1), value


def _to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The inverse of `_to_hsv`, [n, 3] float32."""
    k = (np.array([5, 3, 1], dtype=np.float32) + hue[:, None] / 60) % 6
    ramp = np.clip(np.minimum(k, 4 - k), 0, 1)
    return (value[:, None] * (1 - saturation[:, None] * ramp)).astype(np.float32)
