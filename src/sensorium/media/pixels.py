"""Whatever a picture is made of, as 8-bit sRGB on white.

Pillow's own `convert("RGB")` clips 16 bits at 255, turns transparent into black, and does not look at colour profiles.
Here deep samples are scaled, an embedded ICC profile is followed to sRGB, and transparency lies on white paper.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL import ImageCms, features

# How Pillow's modes become one of those that a colour profile can describe. Alpha is taken off before.
_DESCRIBED = ("L", "RGB", "CMYK", "LAB")
_WITH_ALPHA = ("LA", "La", "RGBA", "RGBa", "PA", "P", "1", "L", "RGB")  # the last ones by a colour key or palette
_CUSTOMARY_TOPS = {"I": (255, 65535, 2**31 - 1), "F": (1.0, 255.0, 65535.0)}


def to_rgb(picture: PILImage.Image) -> PILImage.Image:
    """A new RGB picture with nothing of the old one's metadata: alpha on white, sRGB, deep samples scaled to 8 bits.

    picture: loaded, any mode of Pillow's. Raises ValueError for a mode that Pillow cannot convert.
    """
    alpha = _alpha(picture)
    opaque = _without_alpha(picture)
    profile = picture.info.get("icc_profile")
    rgb = _through_profile(opaque, profile) if isinstance(profile, bytes) else None
    if rgb is None:
        rgb = _from_lab(opaque) if opaque.mode == "LAB" else opaque.convert("RGB")
    if alpha is not None:
        paper = PILImage.new("RGB", rgb.size, "white")
        paper.paste(rgb, mask=alpha)
        rgb = paper
    rgb.info = {}  # a profile already applied would be applied again by whoever opens what is saved
    return rgb


def _alpha(picture: PILImage.Image) -> PILImage.Image | None:
    """How opaque each pixel is, 0-255, or None when all are."""
    if not picture.has_transparency_data:
        return None
    key = picture.info.get("transparency")
    if picture.mode.startswith("I;16") and isinstance(key, int):  # a colour key that Pillow cannot apply itself
        return PILImage.fromarray((np.asarray(picture) != key).astype(np.uint8) * 255)
    return picture.convert("RGBA").getchannel("A") if picture.mode in _WITH_ALPHA else None


def _without_alpha(picture: PILImage.Image) -> PILImage.Image:
    mode = picture.mode
    if mode in _DESCRIBED:
        return picture
    if mode.startswith("I") or mode == "F":
        return _to_8_bit(picture)
    if mode in ("1", "LA", "La"):
        return picture.convert("LA").getchannel("L") if mode == "La" else picture.convert("L")
    if picture.has_transparency_data:
        # By way of RGBA, since premultiplied colours must be divided by their alpha first.
        return PILImage.merge("RGB", picture.convert("RGBA").split()[:3])
    return picture.convert("RGB")


def _to_8_bit(picture: PILImage.Image) -> PILImage.Image:
    """One channel of integers or floats -> L, its range scaled to 0-255 and rounded.

    The range is what the format says (16-bit files; 12 bits in TIFF). Where it says nothing, it is the smallest
    customary one that holds all samples (floats: 0-1; integers: 8, 16, 31 bits); with negative samples, theirs.
    """
    samples = np.asarray(picture).astype(np.float64)
    finite = np.isfinite(samples)
    samples = np.where(finite, samples, samples.min(where=finite, initial=0.0))
    low, high = 0.0, _stated_top(picture)
    if not high:
        low, most = float(samples.min()), float(samples.max())
        tops = [float(top) for top in _CUSTOMARY_TOPS[picture.mode] if most <= top]
        low, high = (0.0, tops[0]) if low >= 0 and tops else (low, most)
    scaled = (samples - low) / ((high - low) or 1.0) * 255
    return PILImage.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _stated_top(picture: PILImage.Image) -> float:
    """The largest sample that the format allows, 0 when it says nothing."""
    if picture.mode.startswith("I;16"):
        tags: Any = getattr(picture, "tag_v2", {})
        bits = tags.get(258, (16,))  # BitsPerSample
        return float(2 ** bits[0] - 1) if bits[0] in (9, 10, 11, 12, 13, 14, 15) else 65535.0
    if picture.mode == "I" and getattr(picture, "format", None) in ("PPM", "PNG"):
        return 65535.0
    return 0.0


def _through_profile(picture: PILImage.Image, profile: bytes) -> PILImage.Image | None:
    """The picture in sRGB by its embedded profile; None when the profile is damaged or made for other channels."""
    if not features.check("littlecms2"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a wrong profile must not cost us the picture: colours as they are, as browsers do


def _from_lab(picture: PILImage.Image) -> PILImage.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    if converted is None:
        raise ValueError("the LAB colours cannot be converted")
    return converted
