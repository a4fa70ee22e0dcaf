"""Woodpecker's own protocol (arXiv:2310.16045), for reproduction: a language model reads, asks and rewrites.

    from sensorium.correction.woodpecker import Woodpecker
    protocol = Woodpecker(llm, OpenVocabulary("IDEA-Research/grounding-dino-tiny"), vqa)
    protocol.correct("photo.jpg", "Two dogs lie there.")

Its stages, settings and manner are the original's; prompts are worded anew in the same shape. What was a mistake rather
than method is not repeated: stages stay with their sentences, names that hold "none" are names, no call is tried for
ever.
"""

from sensorium.correction.woodpecker.protocol import Woodpecker
from sensorium.correction.woodpecker.records import WOODPECKER_STAGES, Stages, WoodpeckerReport

__all__ = ["WOODPECKER_STAGES", "Stages", "Woodpecker", "WoodpeckerReport"]
