"""Ask a model about held-out scenes: every probe of a split, once with the picture and once blind.

Works on any `Engine`. Blind means that each picture is replaced by a grey one of its size: what a model still gets
right then it knows from the wording, the balance of answers, or the world, and not from looking.

`evaluate_scenes` is the whole of it: plan the questions, ask what no earlier run has asked, score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, user
from sensorium.data.dataset import SUBSETS, Dataset, Probe
from sensorium.data.records import BOX_SUBSETS
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.engine.base import Engine, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.naming import Names
from sensorium.evaluation.replies import ReplyFile, ScenesReply
from sensorium.evaluation.scoring import ScenesScores, is_right, score_scenes
from sensorium.media import encode_image, image_size

Progress = Callable[[int, int], None]  # questions answered, of

CAPTION_QUESTION = "Describe the picture."
GROUNDING_QUESTION = "Where is the {thing}? Answer with a box."
GREY = (128, 128, 128)
PICTURES_AT_ONCE = 32  # all questions about so many are asked before the next, so an engine encodes each once

# Just enough: a reply that has not said yes or no by then will not, and a box has a fixed form.
_BOX = Sampling(max_new_tokens=64)
_SAMPLING = {"caption": Sampling(max_new_tokens=128), **dict.fromkeys(BOX_SUBSETS, _BOX)}
_SAMPLING["reading_card"] = Sampling(max_new_tokens=32)  # three long words that are no tokens of their own
_SAMPLING["reading_page"] = _SAMPLING["several_order"] = _SAMPLING["reading_card"]
_SHORT = Sampling(max_new_tokens=8)

Shown = tuple[str | bytes, ...]  # the pictures of a question


def evaluate_scenes(
    engine: Engine,
    dataset: Dataset,
    split: str,
    blind: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    keep: ReplyFile | None = None,
) -> ScenesScores:
    """Ask all probes of a split and score the replies.

    limit: only the first so many probes of each subset. keep: where replies are stored as they come; what is already
    there is not asked again. Raises SensoriumError when the split is not there or has no probes.
    """
    names = Names(dataset.info["vocabulary"])
    planned = plan(dataset.probes(split), limit)
    if not planned:
        raise SensoriumError(f"{dataset.root}: split {split!r}", "has no probes to ask.", "Choose a test split.")
    known = {} if keep is None else keep.known
    answered = {question.id: known[question.id] for _, question in planned if question.id in known}
    open_questions = [(images, question) for images, question in planned if question.id not in answered]
    tell = progress or (lambda done, total: None)
    tell(len(answered), len(planned))
    for replies in _ask(engine, open_questions, blind):
        if keep is not None:
            keep.add((reply, is_right(reply, names)) for reply in replies)
        answered |= {reply.id: reply for reply in replies}
        tell(len(answered), len(planned))
    return score_scenes([answered[question.id] for _, question in planned], names, split, blind)


def plan(probes: Iterable[Probe], limit: int | None = None) -> list[tuple[tuple[str, ...], ScenesReply]]:
    """(paths of the pictures, question without its reply) of the first `limit` probes of each subset, in their order.
    """
    taken = dict.fromkeys(SUBSETS, 0)
    planned = []
    for probe in probes:
        taken[probe.subset] += 1
        if limit is None or taken[probe.subset] <= limit:
            planned += [(probe.images, question) for question in _questions(probe)]
    return planned


def _questions(probe: Probe) -> list[ScenesReply]:
    def ask(question: str, truth: object, number: str = "") -> ScenesReply:
        return ScenesReply(probe.id + number, probe.scene, probe.subset, question, truth, "")

    if probe.subset == "caption":
        return [ask(CAPTION_QUESTION, list(probe.objects))]
    if probe.subset in BOX_SUBSETS:
        assert probe.name is not None and probe.box is not None, "the reader of probes has seen to it"
        return [ask(GROUNDING_QUESTION.format(thing=_thing(probe.name)), list(probe.box.corners))]
    return [ask(question, truth, f"/{i}") for i, (question, truth) in enumerate(probe.questions)]


def _ask(
    engine: Engine, planned: Sequence[tuple[tuple[str, ...], ScenesReply]], blind: bool
) -> Iterator[list[ScenesReply]]:
    """Replies in portions: all that is asked about some pictures, questions of one length of reply together."""
    said: dict[tuple[str, Shown], str] = {}  # equal prompts have equal replies; blind, many are equal
    pictures = list(dict.fromkeys(images for images, _ in planned))
    for start in range(0, len(pictures), PICTURES_AT_ONCE):
        chosen = set(pictures[start : start + PICTURES_AT_ONCE])
        portion = [(images, question) for images, question in planned if images in chosen]
        for sampling in dict.fromkeys((_SHORT, *_SAMPLING.values())):
            asked = [
                (question, (question.question, tuple(_shown(image, blind) for image in images)))
                for images, question in portion
                if _SAMPLING.get(question.subset, _SHORT) == sampling
            ]
            new = [prompt for prompt in dict.fromkeys(prompt for _, prompt in asked) if prompt not in said]
            if new:
                conversations = [Conversation((user(*map(Image, shown), question),)) for question, shown in new]
                answers = engine.answer(conversations, sampling)
                said |= {prompt: answer.text for prompt, answer in zip(new, answers, strict=True)}
            if asked:
                yield [replace(question, reply=said[prompt]) for question, prompt in asked]


def _shown(image: str, blind: bool) -> str | bytes:
    return grey_picture(*image_size(image)) if blind else image


@cache
def grey_picture(width: int, height: int) -> bytes:
    """A PNG of even grey."""
    return encode_image(PILImage.new("RGB", (width, height), GREY), "PNG")


@cache
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()


def _thing(name: str) -> str:
    """The name as a question says it after "the": "dog", "pair of scissors"."""
    return _vocabulary()[name].counted(1) if name in _vocabulary() else name
