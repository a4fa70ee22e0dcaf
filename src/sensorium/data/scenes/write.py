"""Write what is said about a scene: captions, chats and drills, true by construction.

The main path is `Writer.write`: facts from the scene, one caption, then chats of three to six turns. Turns are drawn
by shares; a turn that the picture does not offer, or that earlier words gave away, gives its place to another. Yes and
no are kept even over the whole split by `balance`, therefore a writer takes its scenes in order.

A drill is a chat about attributes alone, as long as the picture allows: colours, numbers and places are what a small
language model learns last to read from visual tokens, and a chat spends two words in three on other things. A second
drill asks where things are and nothing else: to compare two places is the hardest of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sensorium.data.records import ConversationRow, Scene
from sensorium.data.scenes.balance import Claim
from sensorium.data.scenes.facts import RELATIONS, Facts
from sensorium.data.scenes.phrases import capital, name_words
from sensorium.data.scenes.questions import OPEN, Speaker, Talk, Turn, listing
from sensorium.grounding import format_grounded


@dataclass(frozen=True)
class Course:
    """How a talk goes. shares: what a turn asks, and how often; keys that end in "?" are answered with yes or no.

    turns: the fewest and the most. follow_ups: what may be asked next about the thing that a turn was about.
    """

    shares: dict[str, float]
    turns: tuple[int, int]
    follow_ups: tuple[str, ...]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.shares)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        return np.array(list(self.shares.values())) / sum(self.shares.values())


_CHAT_SHARES = {
    "existence?": 0.32,
    "count?": 0.12,
    "color?": 0.09,
    "position?": 0.12,
    "count": 0.09,
    "color": 0.09,
    "where": 0.05,
    "relative": 0.05,
    "beside": 0.03,
    "which": 0.03,
    "largest": 0.02,
    "this": 0.02,
    "ground": 0.07,
    "region": 0.04,
    "list": 0.03,
}
_DRILL_SHARES = {
    "color": 0.18,
    "color?": 0.2,
    "count": 0.1,
    "count?": 0.14,
    "where": 0.1,
    "position?": 0.16,
    "relative": 0.05,
    "which": 0.04,
    "beside": 0.03,
}
# A relation that has to be told ("to the left of") teaches more than one that is only agreed with, so half are told.
# Where both places were asked for before, it can be told from the words: comparing is learned from those first.
_PLACES_SHARES = {
    "position?": 0.26,
    "relative": 0.24,
    "where": 0.18,
    "beside": 0.08,
    "ground": 0.24,
}
# Of small things: whether they are there, how many, and where to look; a boxed answer says what was found.
_SMALL_SHARES = {
    "existence?": 0.3,
    "count?": 0.16,
    "count": 0.2,
    "color": 0.08,
    "where": 0.08,
    "ground": 0.12,
    "list": 0.06,
}
CHAT = Course(_CHAT_SHARES, (3, 6), ("count", "color", "where", "ground"))
DRILL = Course(_DRILL_SHARES, (10, 14), ("count", "color", "where"))
PLACES = Course(_PLACES_SHARES, (6, 10), ("where",))
SMALL = Course(_SMALL_SHARES, (3, 6), ("count", "where", "ground"))
_TRIES = 12  # draws of a kind for each turn wanted
_DRILL_TRIES = 3  # fewer: a drill that goes on past what is there asks of the absent only
_FOLLOW_UP_SHARE = 0.25  # of turns go on about what the last one was about
_RELATIVE_SHARE = 0.75  # of yes/no questions about position are about two things, as MME's are
_MME_SHARE, _SHORT_SHARE = 0.55, 0.2  # of yes/no questions; the rest are answered in a sentence
_GROUNDED_CAPTION_SHARE = 0.1  # of captions are followed by a request for every box
_PICTURE_FIRST_SHARE = 0.9
_CAPTIONS = ("brief", "plain", "detail")


@dataclass(frozen=True)
class Writer:
    """Writes the conversations of one split. seed and the scene's number fix all that `balance` does not.

    speaker: words, names and the balance of yes and no. shows: background -> the names seen in it.
    """

    speaker: Speaker
    seed: int
    chats: int = 2
    captions: int = 1
    shows: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def write(self, scene: Scene) -> Iterator[ConversationRow]:
        """The conversations about one scene, captions first."""
        rng = np.random.default_rng((self.seed, int(scene.id)))
        facts = Facts(scene, self.shows.get(scene.background, ()))
        told: set[tuple[str, str]] = set()
        talks = [("caption", self.caption(facts, rng)) for _ in range(self.captions)]
        talks += [("chat", self.chat(Talk(facts, told), rng)) for _ in range(self.chats)]
        for number, (task, turns) in enumerate(talks):
            yield ConversationRow(f"{scene.id}-{number}", scene.id, task, messages(turns, scene.image, rng))

    def small(self, scene: Scene) -> Iterator[ConversationRow]:
        """Chats about a scene of small things."""
        rng = np.random.default_rng((self.seed, int(scene.id)))
        facts, told = Facts(scene, self.shows.get(scene.background, ())), set[tuple[str, str]]()
        for number in range(self.chats):
            turns = self.chat(Talk(facts, told), rng, SMALL)
            yield ConversationRow(f"{scene.id}-small{number}", scene.id, "small", messages(turns, scene.image, rng))

    def caption(self, facts: Facts, rng: np.random.Generator) -> list[Turn]:
        """A description as brief or full as it is asked for; sometimes every box after it."""
        phrases, words = self.speaker.phrases, {"list": listing(self.speaker.vocabulary, facts)}
        first = next(iter(facts.counts.values()))
        words["is"] = "is" if first == 1 else "are"
        kind = _CAPTIONS[int(rng.choice(3, p=(0.2, 0.4, 0.4)))]
        request = phrases.say(f"caption.{kind}", rng, words)
        if kind == "detail":
            answer = self._details(facts, rng)
        else:
            if rng.random() < 0.3:
                words["list"] = listing(self.speaker.vocabulary, facts, with_colours=True)
            answer = phrases.say(f"caption.answer_{kind}", rng, words)
        turns = [Turn("caption", request, answer)]
        if rng.random() < _GROUNDED_CAPTION_SHARE:
            turns.append(Turn("ground", phrases.say("ground.everything", rng, {}), self._all_boxes(facts)))
        return turns

    def chat(self, talk: Talk, rng: np.random.Generator, course: Course = CHAT) -> list[Turn]:
        """Three to six turns. Where the picture offers little, what earlier talks told may be asked again."""
        fewest, most = course.turns
        wanted, turns, told_before = int(rng.integers(fewest, most + 1)), list[Turn](), set(talk.told)
        for attempt in range(_TRIES * wanted):
            if len(turns) == wanted:
                break
            if attempt == _TRIES * wanted // 2 and len(turns) < fewest:
                talk.told.difference_update(told_before)
            if turn := self._turn(course, talk, rng):
                turns.append(turn)
        while len(turns) < fewest:
            # A picture of one thing may have been talked out. What is absent can always be asked.
            turns.append(self._yes_or_no("existence", talk, rng, last_resort=True) or self._last_resort(talk, rng))
        return turns

    def drill(self, scene: Scene) -> ConversationRow:
        """One long talk about the attributes of a scene; whatever the picture offers is asked, nothing twice.

        Its yes and no are balanced with those of other drills: give drills a writer of their own.
        """
        rng = np.random.default_rng((self.seed, int(scene.id), 1))
        talk = Talk(Facts(scene, self.shows.get(scene.background, ())))
        # One thing of no clear colour at no clear place may be all there is, and its number never drawn.
        turns = self._whatever_is_offered(DRILL, talk, rng) or [
            self._yes_or_no("count", talk, rng, last_resort=True) or self._last_resort(talk, rng)
        ]
        return ConversationRow(f"{scene.id}-drill", scene.id, "drill", messages(turns, scene.image, rng))

    def places(self, scene: Scene) -> ConversationRow | None:
        """As `drill`, about where things are; None of a scene in which fewer than two pairs can be compared."""
        rng = np.random.default_rng((self.seed, int(scene.id), 2))
        talk = Talk(Facts(scene, self.shows.get(scene.background, ())))
        if len(talk.facts.relations) < 4:  # each pair both ways round
            return None
        turns = self._whatever_is_offered(PLACES, talk, rng)
        if not turns:
            return None
        return ConversationRow(f"{scene.id}-places", scene.id, "places", messages(turns, scene.image, rng))

    def _whatever_is_offered(self, course: Course, talk: Talk, rng: np.random.Generator) -> list[Turn]:
        """As many turns as a course wants, or as the picture offers."""
        wanted, turns = int(rng.integers(course.turns[0], course.turns[1] + 1)), list[Turn]()
        for _ in range(_DRILL_TRIES * wanted):
            if len(turns) < wanted and (turn := self._turn(course, talk, rng)):
                turns.append(turn)
        return turns

    def _turn(self, course: Course, talk: Talk, rng: np.random.Generator) -> Turn | None:
        """One turn of a kind drawn at random, if the picture and the talk so far offer it; the talk goes on from it."""
        kind = course.kinds[int(rng.choice(len(course.kinds), p=course.probabilities))]
        if talk.focus and rng.random() < _FOLLOW_UP_SHARE:
            kind = course.follow_ups[int(rng.integers(len(course.follow_ups)))]
        is_claim = kind.endswith("?")
        turn = self._yes_or_no(kind[:-1], talk, rng) if is_claim else OPEN[kind](self.speaker, talk, rng)
        if turn:
            talk.focus, talk.last, talk.turn = turn.focus, turn.kind, talk.turn + 1
        return turn

    def _last_resort(self, talk: Talk, rng: np.random.Generator) -> Turn:
        """A list of everything: what is left when a small catalogue has no absent names either."""
        words = {"list": listing(self.speaker.vocabulary, talk.facts)}
        phrases = self.speaker.phrases
        return Turn("list", phrases.say("list.question", rng, words), phrases.say("list.answer", rng, words))

    def _yes_or_no(self, kind: str, talk: Talk, rng: np.random.Generator, last_resort: bool = False) -> Turn | None:
        only_relative = rng.random() < _RELATIVE_SHARE

        def about(claim: Claim) -> bool:
            return _is_fresh(claim, talk) and not (only_relative and claim.template == "absolute")

        asker = self.speaker.asker
        if last_resort:
            claim = asker.find(kind, talk.facts, rng, False, about)
        else:
            claim = asker.ask(kind, talk.facts, rng, talk.turn, about)
        if claim is None:
            return None
        phrases, words, form = self.speaker.phrases, claim.words, rng.random()
        follows = kind == "existence" and talk.last == "existence" and rng.random() < 0.5
        key = f"{claim.template}.{'follow' if follows else 'question'}"
        yes, focus = "yes" if claim.truth else "no", _focus(claim, talk)
        talk.told.update(_facts_of(claim))
        talk.mentioned.update(claim.names)
        if form < _MME_SHARE and not follows:
            return Turn(kind, phrases.say(f"{claim.template}.mme", rng, words), capital(yes), focus)
        question = phrases.say(key, rng, words)
        if form < _MME_SHARE + _SHORT_SHARE:
            return Turn(kind, f"{question} {phrases.say('short', rng, words)}", capital(yes), focus)
        if kind == "existence" and not claim.truth and rng.random() < 0.35:
            yes = "no_but"
        if yes == "no_but" and claim.other:
            talk.tell("count", claim.other)
        elif kind == "existence" and claim.truth:
            talk.tell("count", *claim.names)  # "Yes, there are three dogs."
        return Turn(kind, question, phrases.say(f"{claim.template}.{yes}", rng, words), focus)

    def _details(self, facts: Facts, rng: np.random.Generator) -> str:
        """Every kind with its count, then its color and its place, then how two of them stand."""
        vocabulary, phrases = self.speaker.vocabulary, self.speaker.phrases
        first = next(iter(facts.counts.values()))
        sentences = [f"There {'is' if first == 1 else 'are'} {listing(vocabulary, facts)}."]
        for name, count in facts.counts.items():
            colour, place = facts.colours.get(name), facts.place(name)
            said = [part for part in (colour, place) if part]
            if said:
                words = name_words(vocabulary, name, count)
                the = words["the"] if count == 1 else words["the_many"]
                sentences.append(f"{capital(the)} {words['is']} {' and '.join(said)}.")
        if facts.relations and rng.random() < 0.7:
            pairs = list(facts.relations)
            name, other = pairs[int(rng.integers(len(pairs)))]
            words = {**name_words(vocabulary, name), **name_words(vocabulary, other, 1, "other_")}
            words["true_relation"] = RELATIONS[facts.relations[name, other]]
            sentences.append(phrases.say("relative.answer", rng, words))
        return " ".join(sentences)

    def _all_boxes(self, facts: Facts) -> str:
        spoken = []
        for name, count in facts.counts.items():
            words = name_words(self.speaker.vocabulary, name, count)
            spoken.append(format_grounded(words["the" if count == 1 else "the_many"], *facts.spoken_boxes[name]))
        return ", ".join(spoken)


def messages(turns: list[Turn], image: str, rng: np.random.Generator) -> list[dict]:
    """Turns as content parts, the picture in the first user turn, mostly before the words."""
    rows: list[dict] = []
    for turn in turns:
        rows.append({"role": "user", "content": [{"type": "text", "text": turn.question}]})
        rows.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    position = 0 if rng.random() < _PICTURE_FIRST_SHARE else 1
    rows[0]["content"].insert(position, {"type": "image", "path": image})
    return rows


def _is_fresh(claim: Claim, talk: Talk) -> bool:
    """Whether the talk has left a claim open. Existence must not have been given away by mentioning."""
    if claim.kind == "existence" and claim.names[0] in talk.mentioned:
        return False
    return talk.told.isdisjoint(_facts_of(claim))


def _facts_of(claim: Claim) -> set[tuple[str, str]]:
    """The facts that a claim is about, as `Talk.told` keeps them."""
    if len(claim.names) == 2:
        name, other = claim.names
        return {("relation", f"{name} {other}"), ("relation", f"{other} {name}")}
    return {("place" if claim.kind == "position" else claim.kind, claim.names[0])}


def _focus(claim: Claim, talk: Talk) -> str | None:
    """What "it" means after a claim: the one thing spoken of, if it is there and as many as was said."""
    if len(claim.names) > 1 or (claim.kind in ("existence", "count") and not claim.truth):
        return None
    return claim.names[0]
