"""Measuring: ask an engine what is known, score what it replies, and say how sure the number is.

`evaluate_scenes` measures looking on held-out scenes, `evaluate_speech` whether a language model still speaks as before
it learnt to look. Everything here sees an `Engine` and conversations, never a tensor of a model.
"""

from sensorium.evaluation.metrics import Estimate
from sensorium.evaluation.replies import ReplyFile, ScenesReply, read_replies
from sensorium.evaluation.report import Report
from sensorium.evaluation.scenes import evaluate_scenes
from sensorium.evaluation.scoring import ScenesScores, score_scenes
from sensorium.evaluation.speech import Reference, SpeechScores, evaluate_speech, speech_references

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
