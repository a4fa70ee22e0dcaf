"""The default editor: rules that change as few characters as make a text true.

A number, a colour, a side gives way to what is there; a thing that is not there goes with the smallest piece of its
sentence; yes and no change places with their clause. Where there is more than one way, an engine's likelihood ranks
the whole texts; without an engine the first way is taken. A language model never writes here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sensorium.conversation import Conversation, user
from sensorium.correction.editors.base import Task
from sensorium.correction.editors.grammar import (
    agreeing,
    article_before,
    in_case_of,
    noun_as,
    number_like,
    pronoun_as,
)
from sensorium.correction.editors.removal import Noun, removals
from sensorium.correction.language import read
from sensorium.correction.places import IN_THE_MANNER_OF, OPPOSITE, PLACE_PHRASES, RELATION_PHRASES
from sensorium.correction.questions import a, plural
from sensorium.correction.records import Claim, Edit, Verdict, apply_edits
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_MOST_CANDIDATES = 8
_DEFAULT_QUESTION = "Describe the image."
_NEGATION = re.compile(r"\s*\b(?:not|never)\b|n['’]t\b", re.IGNORECASE)


class Minimal:
    """Rule edits by offset."""

    name = "minimal"

    def edit(self, task: Task) -> list[Edit]:
        doc = read(task.text)
        hedges = list(_hedges(task, doc)) if task.policy.doubtful == "hedge" else []
        if not task.refuted:
            return _fitting(hedges)
        sure: list[Edit] = []
        for claim in task.refuted:
            sure += _value_edits(task, doc, claim)
        ways = [] if _is_denied_answer(task) else [
            [way for way in place if _spares(task, way)] or [[]]
            for place in removals(task.text, *_nouns(task, doc))
        ]  # fmt: skip
        answer = _answer_edits(task, doc, sure)
        choices = itertools.islice(itertools.product(*ways), _MOST_CANDIDATES)
        candidates = [
            _fitting([*answer, *itertools.chain.from_iterable(chosen), *sure, *hedges])
            for chosen in choices
        ]
        candidates = [_not_bare(task, _closed(task.text, edits)) for edits in candidates]
        return candidates[_likeliest(task, [apply_edits(task.text, edits) for edits in candidates])]


def _nouns(task: Task, doc: Doc) -> tuple[list[Noun], list[Noun], list[Noun]]:
    """(mentions of what is not there, mentions of what is, all mentions), of the text."""
    gone, kept, every = [], [], []
    numbers = {c.needs: task.verdict(c).observed for c in task.refuted if c.kind == "count" and c.asserts}
    none_left = {c.needs for c in task.refuted if c.kind == "count" and task.verdict(c).observed == "0"}
    for claim in task.claims:
        if claim.kind != "existence" or claim.span.source != "text" or claim.thing is None:
            continue
        token = _head(doc, claim)
        if token is None:
            continue
        observed = numbers.get(claim.id)
        is_one = token.tag_ not in ("NNS", "NNPS") if observed is None else observed == "1"
        noun = Noun(claim, token, claim.thing.span.start, claim.thing.span.end, is_one)
        every.append(noun)
        if claim.asserts and (claim in task.refuted or claim.id in none_left):
            gone.append(noun)
        elif task.verdict(claim).value == "supported" or not claim.asserts:
            kept.append(noun)
    return gone, kept, every


def _spares(task: Task, edits: list[Edit]) -> bool:
    """Whether everything that was shown to be there is still spoken of when these edits are made."""
    left: set[str] = set()
    lost: set[str] = set()
    for claim in task.claims:
        thing = claim.thing
        if claim.kind != "existence" or claim.span.source != "text" or not claim.asserts or thing is None:
            continue
        if task.verdict(claim).value != "supported" or thing.name is None:
            continue
        word = thing.head.of(task.text).lower()
        is_cut = any(e.start < thing.head.end and thing.head.start < e.end and word not in e.replacement.lower()
                     for e in edits if e.kind == "delete")  # fmt: skip
        (lost if is_cut else left).add(thing.name)
    return lost <= left


def _head(doc: Doc, claim: Claim) -> Token | None:
    assert claim.thing is not None
    span = doc.char_span(claim.thing.head.start, claim.thing.head.end, alignment_mode="expand")
    return span.root if span is not None else None


def _value_edits(task: Task, doc: Doc, claim: Claim) -> list[Edit]:
    """Edits that put what is there in the place of what is said; none where that is not known."""
    verdict = task.verdict(claim)
    if not claim.asserts:
        return _undenied(task, doc, claim)
    if claim.value_span is None:
        return []
    if claim.kind == "count":
        return _number(task, doc, claim, verdict)
    if claim.kind == "colour":
        return _colour(doc, claim, verdict)
    if claim.kind == "position":
        return _side(task, claim, verdict)
    if claim.kind == "text" and verdict.observed:
        return [_put(claim, verdict.observed, "text", verdict)]
    if claim.kind == "material":
        return _without_modifier(task, doc, claim)
    return []


def _number(task: Task, doc: Doc, claim: Claim, verdict: Verdict) -> list[Edit]:
    assert claim.value_span is not None
    if verdict.observed is None or int(verdict.observed) == 0 or claim.thing is None:
        return []
    number, old = int(verdict.observed), claim.value_span.of(task.text)
    edits = [_put(claim, number_like(old, number) if old.lower() != "single" else number_like("one", number),
                  "number", verdict)]  # fmt: skip
    noun = _head(doc, claim)
    if noun is None:
        return edits
    if number != 1:
        edits = [_with_its_article(doc, edits[0])]
    ids = (claim.id,)
    new = noun_as(noun, singular=number == 1)
    if new is not None:
        edits.append(Edit(start=noun.idx, end=noun.idx + len(noun), replacement=new, kind="agreement", claims=ids))
    joined = bool(noun.conjuncts)
    edits += agreeing(noun, number == 1, ids, joined)
    for token in _pronouns(task, doc, claim):
        edits += pronoun_as(token, number == 1, ids)
    return edits


def _with_its_article(doc: Doc, edit: Edit) -> Edit:
    """ "A single apple" -> "Three apples": an article before a number goes with it."""
    span = doc.char_span(edit.start, edit.end, alignment_mode="expand")
    if span is None or span.start == 0 or (article := doc[span.start - 1]).lower_ not in ("a", "an"):
        return edit
    new = in_case_of(article.text, edit.replacement)
    return edit.model_copy(update={"start": article.idx, "replacement": new})


def _pronouns(task: Task, doc: Doc, claim: Claim) -> list[Token]:
    """Where the text speaks of a claim's thing as "it" or "they"."""
    found: dict[int, Token] = {}
    for other in task.claims:
        thing, ours = other.thing, claim.thing
        if thing is None or ours is None or thing.name != ours.name or thing.head.source != "text":
            continue
        token = _head(doc, other)
        if token is not None and token.pos_ == "PRON":
            found[token.i] = token
    return list(found.values())


def _colour(doc: Doc, claim: Claim, verdict: Verdict) -> list[Edit]:
    assert claim.value_span is not None
    words = doc.char_span(claim.value_span.start, claim.value_span.end, alignment_mode="expand")
    if words is None:
        return []
    if verdict.observed is None:
        return _dropped_modifier(doc, claim, words[0], words[-1])
    new = in_case_of(words.text, verdict.observed)
    return [_put(claim, new, "colour", verdict), *article_before(words[0], new, (claim.id,))]


def _without_modifier(task: Task, doc: Doc, claim: Claim) -> list[Edit]:
    assert claim.value_span is not None
    words = doc.char_span(claim.value_span.start, claim.value_span.end, alignment_mode="expand")
    return _dropped_modifier(doc, claim, words[0], words[-1]) if words is not None else []


def _dropped_modifier(doc: Doc, claim: Claim, first: Token, last: Token) -> list[Edit]:
    """Leave out an adjective before its noun; elsewhere a sentence cannot spare it."""
    if last.dep_ not in ("amod", "compound") or last.i + 1 >= len(doc):
        return []
    after = last.nbor(1)
    cut = Edit(start=first.idx, end=after.idx, replacement="", kind="delete", claims=(claim.id,))
    return [cut, *article_before(first, after.text, (claim.id,))]


def _side(task: Task, claim: Claim, verdict: Verdict) -> list[Edit]:
    assert claim.value_span is not None
    old = claim.value_span.of(task.text)
    if verdict.observed is None:
        if claim.other is not None:
            return []
        # The phrase goes: a place that is wrong is worse than none.
        start = claim.span.start - (task.text[: claim.span.start].endswith(" "))
        is_all = not task.text[: claim.span.start].strip() or claim.thing is None
        return [] if is_all else [Edit(start=start, end=claim.span.end, replacement="", kind="delete",
                                       claims=(claim.id,), reason=verdict.reason)]  # fmt: skip
    if verdict.observed == OPPOSITE.get(claim.value):
        plain = {"under": "above", "underneath": "above", "beneath": "above"}
        new = IN_THE_MANNER_OF.get(old.lower()) or plain.get(old.lower()) or verdict.observed
        return [_put(claim, in_case_of(old, new), "side", verdict)]
    phrases = PLACE_PHRASES if claim.other is None else RELATION_PHRASES
    whole = claim.span.of(task.text)
    return [Edit(start=claim.span.start, end=claim.span.end, replacement=in_case_of(whole, phrases[verdict.observed]),
                 kind="side", claims=(claim.id,), reason=verdict.reason)]  # fmt: skip


def _undenied(task: Task, doc: Doc, claim: Claim) -> list[Edit]:
    """What was denied and is so after all: "no dog" becomes "a dog", "is not red" loses its "not"."""
    verdict, ids = task.verdict(claim), (claim.id,)

    def edit(start: int, end: int, new: str) -> list[Edit]:
        return [Edit(start=start, end=end, replacement=new, kind="polarity", claims=ids, reason=verdict.reason)]

    token = _head(doc, claim) if claim.kind == "existence" else None
    if token is not None and claim.thing is not None:
        for child in token.children:
            if child.lower_ == "no":
                if token.tag_ == "NNS":
                    return edit(child.idx, token.idx, "") if child.i + 1 == token.i else edit(
                        child.idx, child.nbor(1).idx, "")  # fmt: skip
                article = a(child.nbor(1).text).split(" ", 1)[0]
                return edit(child.idx, child.idx + len(child), in_case_of(child.text, article))
        start, end = token.head.left_edge.idx, token.idx
    elif claim.value_span is not None:
        span = doc.char_span(claim.value_span.start, claim.value_span.end, alignment_mode="expand")
        if span is None:
            return []
        start, end = span.sent.start_char, claim.value_span.end
    else:
        return []
    found = [match for match in _NEGATION.finditer(task.text, start, end)]
    return edit(found[-1].start(), found[-1].end(), "") if found else []


def _is_denied_answer(task: Task) -> bool:
    """Whether a Yes is wrong because its thing is not there: then its sentence is denied, not taken apart."""
    kinds = {(claim.kind, claim.value == "yes") for claim in task.refuted}
    return ("answer", True) in kinds and ("existence", False) in kinds


def _answer_edits(task: Task, doc: Doc, others: list[Edit]) -> list[Edit]:
    """Yes for No or No for Yes; the rest of its sentence follows, or goes where rules cannot turn it."""
    answers = [claim for claim in task.refuted if claim.kind == "answer"]
    if not answers:
        return []
    claim, verdict = answers[0], task.verdict(answers[0])
    old = claim.span.of(task.text)
    new = in_case_of(old, "no" if claim.value == "yes" else "yes")
    flip = Edit(start=claim.span.start, end=claim.span.end, replacement=new, kind="polarity", claims=(claim.id,),
                reason=verdict.reason)  # fmt: skip
    sentence = next(s for s in doc.sents if s.start_char <= claim.span.start < s.end_char)
    end = sentence.end_char
    gone = [c for c in task.refuted if c.kind == "existence" and c.asserts]
    edits = [flip]
    if gone:
        edits += _denied(task, doc, gone, claim)
    rest = task.text[claim.span.end : end].strip(" ,.!;:—-")
    mended = any(claim.span.end <= edit.start < end for edit in (*others, *edits))
    if rest and not mended:
        stop = end - 1 if task.text[end - 1] in ".!" else end
        edits.append(Edit(start=claim.span.end, end=stop, replacement="", kind="delete", claims=(claim.id,)))
    return edits


def _denied(task: Task, doc: Doc, gone: list[Claim], answer: Claim) -> list[Edit]:
    """ "There is a dog" -> "There is no dog" where the answer to "Is there a dog?" was Yes and is No."""
    edits: list[Edit] = []
    sentences: set[int] = set()
    for claim in gone:
        token = _head(doc, claim)
        if token is None or claim.thing is None or token.sent.start in sentences:
            continue
        ids = (claim.id,)
        verb = token.head
        if token.dep_ == "attr" and any(child.dep_ == "expl" for child in verb.children):
            span = claim.thing.span
            edits.append(Edit(start=span.start, end=claim.thing.head.start, replacement="no ", kind="polarity",
                              claims=ids, reason=task.verdict(claim).reason))  # fmt: skip
            continue
        sentences.add(token.sent.start)
        start, end = token.sent.start_char, token.sent.end_char
        if start <= answer.span.start < end:
            start, end = answer.span.end, end - (task.text[end - 1] in ".!")
        else:
            while start and task.text[start - 1] in " \t":
                start -= 1
        edits.append(Edit(start=start, end=end, replacement="", kind="delete", claims=ids))
    return edits


def _hedges(task: Task, doc: Doc) -> Iterable[Edit]:
    """ "a dog" -> "what may be a dog" for things that are more likely not there, but not surely."""
    for claim in task.claims:
        verdict = task.verdict(claim)
        if claim.kind != "existence" or claim.span.source != "text" or claim.is_hedged or not claim.asserts:
            continue
        if verdict.value != "unknown" or verdict.probability is None or verdict.probability > task.policy.doubt:
            continue
        token = _head(doc, claim)
        if token is None or token.pos_ == "PRON" or claim.thing is None:
            continue
        start = claim.thing.span.start
        opens = token.sent.start_char == start
        yield Edit(start=start, end=start + 1 if opens else start,
                   replacement=("What may be " + task.text[start].lower()) if opens else "what may be ",
                   kind="hedge", claims=(claim.id,), reason=verdict.reason)  # fmt: skip


def _put(claim: Claim, new: str, kind: str, verdict: Verdict) -> Edit:
    assert claim.value_span is not None
    return Edit(start=claim.value_span.start, end=claim.value_span.end, replacement=new, kind=kind,  # type: ignore[arg-type]
                claims=(claim.id,), reason=verdict.reason)  # fmt: skip


def _fitting(edits: list[Edit]) -> list[Edit]:
    """The edits in order without those that a larger one makes needless; no two of them overlap.

    Of two deletions that share the blank between them, one leaves it to the other.
    """
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda e: (-(e.end - e.start), e.start)):
        if edit in kept:
            continue
        for other in kept:
            if not edit.replacement and not other.replacement and edit.start < other.end and other.start < edit.end:
                start = max(edit.start, other.end) if other.start <= edit.start else edit.start
                end = min(edit.end, other.start) if edit.end <= other.end else edit.end
                if start < end:
                    edit = edit.model_copy(update={"start": start, "end": end})
        if all(edit.end <= other.start or other.end <= edit.start for other in kept):
            kept.append(edit)
    return sorted(kept, key=lambda edit: (edit.start, edit.end))


def _closed(text: str, edits: list[Edit]) -> list[Edit]:
    """Where the end of the text goes, the blanks before it go too, though other deletions stand between."""
    end, first = len(text), len(edits)
    while first and edits[first - 1].end == end and not edits[first - 1].replacement and edits[first - 1].start < end:
        first, end = first - 1, edits[first - 1].start
    start = len(text[:end].rstrip(" \t"))
    if start == end or first == len(edits) or (first and edits[first - 1].end > start):
        return edits
    return [*edits[:first], edits[first].model_copy(update={"start": start}), *edits[first + 1 :]]


def _not_bare(task: Task, edits: list[Edit]) -> list[Edit]:
    """Where nothing would be left, the one thing that can be said: what is not there."""
    if re.search(r"\w", apply_edits(task.text, edits)):
        return edits
    gone = [c for c in task.refuted if c.kind == "existence" and c.asserts and c.thing and c.thing.name]
    if not gone:
        return edits
    names = list(dict.fromkeys(c.thing.name for c in gone if c.thing and c.thing.name))
    many = len(names) == 1 and gone[0].thing is not None and gone[0].thing.is_plural
    listed = plural(names[0]) if many else " or ".join(names)
    ids = tuple(c.id for c in gone)
    said = f"There {'are' if many else 'is'} no {listed} in the image."
    return [Edit(start=0, end=len(task.text), replacement=said, kind="polarity", claims=ids, reason="not there")]


def _likeliest(task: Task, texts: list[str]) -> int:
    """Number of the text that the engine finds likeliest by the token; 0 without an engine or a choice."""
    if task.engine is None or len(set(texts)) < 2 or not task.meter.allows():
        return 0
    asked = Conversation((user(task.picture.image, task.question or _DEFAULT_QUESTION),))
    try:
        task.meter.count("editor")
        scores = task.engine.score(asked, texts)
        per_token = [score / max(1, task.engine.count(text)) for score, text in zip(scores, texts, strict=True)]
    except SensoriumError:
        return 0  # an engine that cannot be reached must not cost the correction
    return max(range(len(texts)), key=per_token.__getitem__)
