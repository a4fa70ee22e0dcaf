"""Measuring: ask an engine what is known, score what it replies, and say how sure the number is.

`evaluate_scenes` measures looking on held-out scenes, `evaluate_speech` whether a language model still speaks as before
it learnt to look. Everything here sees an `Engine` and conversations, never a tensor of a model.

The names below are imported when they are first used: a score of one file needs no vocabulary of scenes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.evaluation.metrics import Estimate
    from sensorium.evaluation.replies import ReplyFile, ScenesReply, read_replies
    from sensorium.evaluation.report import Report
    from sensorium.evaluation.scenes import evaluate_scenes
    from sensorium.evaluation.scoring import ScenesScores, score_scenes
    from sensorium.evaluation.speech import Reference, SpeechScores, evaluate_speech, speech_references

_HOME = {
    "Estimate": "metrics", "ReplyFile": "replies", "ScenesReply": "replies", "read_replies": "replies",
    "Report": "report", "evaluate_scenes": "scenes", "ScenesScores": "scoring", "score_scenes": "scoring",
    "Reference": "speech", "SpeechScores": "speech", "evaluate_speech": "speech", "speech_references": "speech",
}  # fmt: skip

__all__ = [
    "Estimate",
    "Reference",
    "ReplyFile",
    "Report",
    "ScenesReply",
    "ScenesScores",
    "SpeechScores",
    "evaluate_scenes",
    "evaluate_speech",
    "read_replies",
    "score_scenes",
    "speech_references",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
