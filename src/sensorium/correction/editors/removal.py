"""Take things out of a sentence that are not there: one of a list, a phrase, a clause, the sentence.

The smallest piece goes that leaves a sentence whole. What else the sentence said and was shown to be there is kept.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sensorium.correction.editors.grammar import agreeing, there_is
from sensorium.correction.records import Claim, Edit

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

_NOT_THERE = "not there"
_OF_A_PHRASE = ("next", "left", "right", "top", "front", "side", "out", "close")  # "on top of", "next to"


@dataclass(frozen=True)
class Noun:
    """A mention in the parsed text: its claim, its head, the characters of its phrase; is_one: as it will be spoken
    of, when its number has been put right."""

    claim: Claim
    token: Token
    start: int
    end: int
    is_one: bool = True


def removals(text: str, gone: list[Noun], kept: list[Noun], every: list[Noun]) -> list[list[list[Edit]]]:
    """For each place where something goes, the ways to take it out, best first.

    gone: mentions of what is not there; kept: mentions that were shown to be there; every: all mentions.
    """
    places: list[list[list[Edit]]] = []
    done: set[int] = set()
    all_nouns = {noun.token.i: noun for noun in every}
    for noun in gone:
        if noun.token.i in done:
            continue
        group = _group(noun, gone, all_nouns)
        lost = [one for one in group if any(one is other for other in gone)]
        done |= {one.token.i for one in lost}
        if len(lost) < len(group):
            places.append([_from_list(text, group, lost, every)])
        else:
            places.append(_whole(text, group, kept))
    return places


def _group(noun: Noun, gone: list[Noun], nouns: dict[int, Noun]) -> list[Noun]:
    """The nouns joined with this one by "and" and commas, itself included, in order."""
    first = noun.token
    while first.dep_ in ("conj", "appos") and first.head.pos_ in ("NOUN", "PROPN") and first.head.i < first.i:
        first = first.head
    members: list[Token] = []
    ahead = [first]
    while ahead:
        token = ahead.pop()
        members.append(token)
        ahead += [child for child in token.children if child.dep_ in ("conj", "appos")
                  and child.pos_ in ("NOUN", "PROPN") and child.i > token.i]  # fmt: skip
    members.sort(key=lambda token: token.i)
    found = [nouns.get(token.i) or _unclaimed(token, noun) for token in members]
    return found


def _unclaimed(token: Token, like: Noun) -> Noun:
    """A member of a list about which there is no verdict: it stays."""
    start = min([token.i, *(c.i for c in token.lefts if c.dep_ in ("det", "amod", "nummod", "compound", "poss"))])
    return Noun(like.claim, token, token.doc[start].idx, token.idx + len(token), token.tag_ not in ("NNS", "NNPS"))


def _from_list(text: str, group: list[Noun], lost: list[Noun], every: list[Noun]) -> list[Edit]:
    ids = tuple(noun.claim.id for noun in lost)
    ends = [_end_before(text, one, after) for one, after in itertools.pairwise(group)]
    ends.append(_last_end(group[-1], every))
    left = [number for number, one in enumerate(group) if not any(one is other for other in lost)]
    edits: list[Edit] = []

    def replace(start: int, end: int, new: str) -> None:
        if text[start:end] != new:
            edits.append(Edit(start=start, end=end, replacement=new, kind="delete", claims=ids, reason=_NOT_THERE))

    first, last = left[0], left[-1]
    if first:
        start, end = group[0].start, group[first].start
        opens = not text[:start].strip() or text[:start].rstrip()[-1] in ".!?"
        if opens:
            replace(start, end + 1, text[end].upper())
        else:
            replace(start, end, "")
    joint = text[ends[-2] : group[-1].start]  # " and ", ", and ", " or "
    for one, after in itertools.pairwise(left):
        if after == one + 1 and after != last:
            continue
        new = joint if after == last else ", "
        if after == last and len(left) == 2:
            new = f" {joint.strip(' ,')} "
        replace(ends[one], group[after].start, new)
    if last < len(group) - 1:
        replace(ends[last], ends[-1], "")
    if len(left) == 1 or first:
        survivor = group[left[0]]
        if len(left) == 1 or group[0].token.dep_ == "attr":
            edits += agreeing(group[0].token, survivor.is_one, ids, joined=False)
    return edits


def _end_before(text: str, one: Noun, after: Noun) -> int:
    """Where a member of a list ends: before the comma or the "and" that leads to the next."""
    end = after.start
    while end > one.end and (text[:end].endswith((" ", ",", "\n")) or _ends_with_joint(text[:end])):
        end -= 3 if _ends_with_joint(text[:end]) and text[:end].endswith("and") else (
            2 if _ends_with_joint(text[:end]) else 1)  # fmt: skip
    return end


def _ends_with_joint(text: str) -> bool:
    return text.endswith((" and", " or", ",and"))


def _last_end(noun: Noun, every: list[Noun]) -> int:
    """Where the last member of a list ends: with what depends on it, unless that speaks of other things."""
    edge = noun.token.right_edge
    end = edge.idx if edge.dep_ == "punct" else edge.idx + len(edge)
    return noun.end if any(noun.end <= other.start < end for other in every) else max(noun.end, end)


def _whole(text: str, group: list[Noun], kept: list[Noun]) -> list[list[Edit]]:
    ids = tuple(noun.claim.id for noun in group)
    head = group[0].token
    if head.dep_ == "pobj" and head.head.lower_ == "of" and head.head.head.pos_ == "NOUN" and (
        group[0].start <= head.head.head.idx):  # fmt: skip
        head = head.head.head  # "a group of people": the group goes
    if head.dep_ == "pobj":
        prep = head.head
        while prep.head.lower_ in _OF_A_PHRASE and prep.head.i < prep.i:
            prep = prep.head.head if prep.head.dep_ == "pobj" else prep.head
        if not _carries(prep):
            return [[_cut(text, prep.left_edge.idx, _right(prep), ids)]]
        return _clause(text, prep.head, ids, kept, group)
    verb = head.head if head.dep_ != "ROOT" else head
    if head.dep_ in ("dobj", "attr", "oprd") and verb.dep_ in ("acl", "relcl", "advcl"):
        return [[_cut(text, verb.left_edge.idx, _right(verb), ids)]]
    return _clause(text, verb, ids, kept, group)


def _carries(prep: Token) -> bool:
    """Whether a sentence would be left bare without this phrase: "the cat is on the table"."""
    verb = prep.head
    if verb.lemma_ != "be":
        return False
    others = [c for c in verb.children if c.dep_ in ("attr", "acomp", "prep", "advmod", "xcomp") and c.i != prep.i]
    return not others


def _clause(
    text: str, verb: Token, ids: tuple[str, ...], kept: list[Noun], group: list[Noun]
) -> list[list[Edit]]:
    """Take out the clause of a verb; the sentence where there is no other."""
    sentence = verb.sent
    if verb.dep_ == "conj" and verb.head.pos_ in ("VERB", "AUX"):
        return [[_cut(text, verb.left_edge.idx, _right(verb), ids, joint=True)]]
    if verb.dep_ in ("acl", "relcl", "advcl"):
        return [[_cut(text, verb.left_edge.idx, _right(verb), ids)]]
    own = [c for c in verb.children if c.dep_ == "conj" and c.pos_ in ("VERB", "AUX") and any(
        s.dep_ in ("nsubj", "nsubjpass", "expl") for s in c.children)]  # fmt: skip
    if verb.dep_ == "ROOT" and own:
        start, end = sentence.start_char, own[0].left_edge.idx
        return [[Edit(start=start, end=end + 1, replacement=text[end].upper(), kind="delete", claims=ids,
                      reason=_NOT_THERE)]]  # fmt: skip
    return _sentence(text, sentence, ids, kept, group)


def _sentence(
    text: str, sentence: Span, ids: tuple[str, ...], kept: list[Noun], group: list[Noun]
) -> list[list[Edit]]:
    """Take out a sentence, but tell of the things in it that are there."""
    gone = {noun.token.i for noun in group}
    stay = [noun for noun in kept if sentence.start <= noun.token.i < sentence.end and noun.token.i not in gone
            and noun.claim.asserts and noun.token.pos_ != "PRON"]  # fmt: skip
    start, end = sentence.start_char, sentence.end_char
    bare = _without_blanks(text, start, end, ids)
    if not stay:
        return [[bare]]
    elsewhere = {_name(noun) for noun in kept if not sentence.start <= noun.token.i < sentence.end}
    phrases = [text[noun.start : noun.end] for noun in stay]
    phrases = [phrase[0].lower() + phrase[1:] for phrase in phrases]
    phrases = [f"a {phrase[4:]}" if phrase.startswith("the ") and noun.token.tag_ == "NN" else phrase
               for phrase, noun in zip(phrases, stay, strict=True)]  # fmt: skip
    new = there_is(phrases, stay[0].token.tag_ in ("NNS", "NNPS"))
    told = Edit(start=start, end=end, replacement=new, kind="delete", claims=ids, reason=_NOT_THERE)
    return [[bare], [told]] if {_name(noun) for noun in stay} <= elsewhere else [[told]]


def _name(noun: Noun) -> str | None:
    return noun.claim.thing.name if noun.claim.thing else None


def _without_blanks(text: str, start: int, end: int, ids: tuple[str, ...]) -> Edit:
    """A sentence goes with the blanks that part it from the next, the last one with those before it."""
    while end < len(text) and text[end] in " \t":
        end += 1
    if end >= len(text) or text[end] == "\n":
        while start and text[start - 1] in " \t":
            start -= 1
    return Edit(start=start, end=end, replacement="", kind="delete", claims=ids, reason=_NOT_THERE)


def _cut(text: str, start: int, end: int, ids: tuple[str, ...], joint: bool = False) -> Edit:
    """A phrase goes with the blank, the comma and the "and" before it; at the front of a sentence with those after."""
    before = text[:start].rstrip()
    if joint and before.lower().endswith((" and", " but", " while")):
        before = before.rpartition(" ")[0]
    opens = not before or before[-1] in ".!?\n"
    if opens:
        while end < len(text) and text[end] in " ,":
            end += 1
        return Edit(start=start, end=min(len(text), end + 1), replacement=text[end : end + 1].upper(), kind="delete",
                    claims=ids, reason=_NOT_THERE)  # fmt: skip
    if before.endswith(","):
        before = before[:-1]
        if text[end : end + 1] == ",":
            end += 1
    return Edit(start=len(before), end=end, replacement="", kind="delete", claims=ids, reason=_NOT_THERE)


def _right(token: Token) -> int:
    """The end of all that depends on a token, closing punctuation left out."""
    edge = token.right_edge
    while edge.dep_ == "punct" and edge.i > token.i:
        edge = edge.nbor(-1)
    return edge.idx + len(edge)
