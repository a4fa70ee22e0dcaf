"""Fewer visual tokens for the language model: training-free methods on what the connector made, by name.

They work on vectors alone, in numpy, so every engine that runs our models can use them, llama.cpp as well as torch.
`random`, `uniform` and `pool` are no strawmen: published critiques (arXiv:2502.11501) found that they often match
cleverer ones, so every table of ours has them beside the rest. (Pixel shuffle is none of them: it puts neighbours side
by side into one wider vector, which only a layer that was trained for it makes narrow again; it is a connector.)

A compressor of your own: a class like these in a file of its own, and a line here.
"""

from sensorium.model.compressors.base import Compressor, Seen
from sensorium.model.compressors.choosing import Random, Uniform
from sensorium.model.compressors.compression import Compression
from sensorium.model.compressors.frames import Frames
from sensorium.model.compressors.llama_vid import LlamaVid
from sensorium.model.compressors.merging import PruMerge, ToMe, VisionZip
from sensorium.model.compressors.pooling import Pool

COMPRESSORS: dict[str, type[Compressor]] = {
    "random": Random,
    "uniform": Uniform,
    "pool": Pool,
    "deco": Pool,
    "tome": ToMe,
    "prumerge": PruMerge,
    "visionzip": VisionZip,
    "llama-vid": LlamaVid,
    "frames": Frames,
}

__all__ = ["COMPRESSORS", "Compression", "Compressor", "Seen"]
