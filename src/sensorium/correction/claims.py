"""A text as claims: what it says that a picture can show to be true or false.

`find_claims` is the story: things that are named, pronouns that stand for them, what is said of them; then, where the
text answers a question, what the answer means. Each claim knows its sentence from the characters it stands at, so a
sentence without things cannot shift the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from sensorium.correction.answers import Answer, declared, find_answer
from sensorium.correction.attributes import Attribute, find_attributes, narrowly_denied
from sensorium.correction.language import check_language, read
from sensorium.correction.mentions import Mention, Source, add_pronouns, find_mentions
from sensorium.correction.records import Claim, Span, Thing
from sensorium.correction.scope import is_denied, is_hedged

if TYPE_CHECKING:
    from spacy.tokens import Doc


def find_claims(text: str, question: str | None = None, names: Collection[str] = ()) -> tuple[Claim, ...]:
    """Every claim of a text, in order. question: what it answers; names: things that verifiers know.

    Raises SensoriumError for text that is empty, too long or not English.
    """
    check_language(text)
    doc = read(text)
    said = list(_claims_of(doc, names, "text"))
    asked: list[Claim] = []
    if question and question.strip():
        check_language(question, "question")
        said_so, places = declared(question)
        asked = [_moved(claim, places) for claim in _claims_of(read(said_so), names, "question")]
    answer = find_answer(text, question, asked)
    return _numbered([*said, *_from_answer(answer, said, asked)])


def _claims_of(doc: Doc, names: Collection[str], source: Source) -> Iterator[Claim]:
    starts = [sentence.start_char for sentence in doc.sents]

    def sentence(at: int) -> int:
        return bisect_right(starts, at) - 1 if source == "text" else -1

    mentions = add_pronouns(doc, find_mentions(doc, names, source), source)
    attributes = find_attributes(doc, mentions)
    narrowed = narrowly_denied(mentions, attributes)
    here: dict[int, str] = {}
    for mention in mentions:
        if (mention.is_pronoun and mention.thing.name is None) or mention.token.i in narrowed:
            continue
        here[mention.token.i] = f"{source}-{mention.token.i}"
        denied = is_denied(mention.token)
        yield Claim(
            id=here[mention.token.i], kind="existence", span=mention.thing.span, thing=mention.thing,
            asserts=not denied, is_hedged=not denied and is_hedged(mention.token),
            sentence=sentence(mention.thing.span.start),
        )  # fmt: skip
    for number, attribute in enumerate(attributes):
        if attribute.mention is None or attribute.mention.token.i not in narrowed:
            yield _claim(attribute, f"{source}-a{number}", here, source, sentence(attribute.start))


def _claim(attribute: Attribute, id: str, here: dict[int, str], source: Source, sentence: int) -> Claim:
    mention: Mention | None = attribute.mention
    start, end = attribute.word
    return Claim(
        id=id, kind=attribute.kind, span=Span(start=attribute.start, end=attribute.end, source=source),
        thing=mention.thing if mention else None, value=attribute.value,
        value_span=Span(start=start, end=end, source=source),
        other=attribute.other.thing if attribute.other else None, asserts=attribute.asserts,
        is_hedged=attribute.is_hedged, sentence=sentence, needs=here.get(mention.token.i) if mention else None,
    )  # fmt: skip


def _from_answer(answer: Answer | None, said: list[Claim], asked: list[Claim]) -> list[Claim]:
    """What an answer adds: a yes or no with the claims it speaks of, or the value that the question asked for."""
    if answer is None:
        return []
    start, end = answer.span
    span = Span(start=start, end=end)
    if answer.kind == "answer":
        parts = tuple(claim.id for claim in asked)
        return [*asked, Claim(id="answer", kind="answer", span=span, value=answer.value, parts=parts)]
    if any(claim.kind == answer.kind and claim.span.start <= start < claim.span.end for claim in said):
        return []  # the sentence says of what, and has been understood already
    return [Claim(id="answer", kind=answer.kind, span=span, thing=answer.thing, value=answer.value, value_span=span)]


def _moved(claim: Claim, places: list[int]) -> Claim:
    """A claim of a question put as a statement, with the characters of the question itself."""

    def span(old: Span) -> Span:
        at = [places[i] for i in range(old.start, old.end)]
        return old.model_copy(update={"start": min(at), "end": max(at) + 1})

    def thing(old: Thing | None) -> Thing | None:
        return old and old.model_copy(update={"span": span(old.span), "head": span(old.head)})

    return claim.model_copy(update={
        "span": span(claim.span), "thing": thing(claim.thing), "other": thing(claim.other),
        "value_span": claim.value_span and span(claim.value_span),
    })  # fmt: skip


def _numbered(claims: list[Claim]) -> tuple[Claim, ...]:
    """The claims in order of their place with short names."""
    ordered = sorted(
        claims, key=lambda c: (c.span.source == "question", c.span.start, c.kind != "existence", c.span.end)
    )
    ids = {claim.id: f"c{number}" for number, claim in enumerate(ordered, start=1)}
    return tuple(
        claim.model_copy(update={"id": ids[claim.id], "parts": tuple(ids[part] for part in claim.parts),
                                 "needs": ids[claim.needs] if claim.needs else None})
        for claim in ordered
    )  # fmt: skip
