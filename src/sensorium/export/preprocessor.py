"""What `model.views.make_views` does to a picture, in the words of transformers' image processors."""

from __future__ import annotations

from typing import Any

from sensorium.model.views import ViewsConfig

_BICUBIC = 3  # Pillow's number


def preprocessor(views: ViewsConfig, size: int) -> dict[str, Any]:
    """The content of preprocessor_config.json: bicubic to [size, size], 0-1, mean and std; `pad` to a square first.

    Only LLaVA's processor pads with the mean colour; CLIP's is the one that most programs know. `fit` is our own word.
    """
    is_padded = views.fit == "pad"
    return {
        "image_processor_type": "LlavaImageProcessor" if is_padded else "CLIPImageProcessor",
        "do_convert_rgb": True,
        **({"do_pad": True} if is_padded else {}),
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": _BICUBIC,
        "do_center_crop": False,
        "crop_size": {"height": size, "width": size},  # not cropped to; some programs read the size from here
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(views.mean),
        "image_std": list(views.std),
        "fit": views.fit,
    }
