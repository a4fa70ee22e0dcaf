"""Open questions about a scene: how many, what color, where, what is there, which box.

Each function of `OPEN` turns the facts into one turn of a talk, or None where the scene does not offer it or the talk
already gave it away. A `Talk` remembers what has been said: nothing is asked twice, and nothing is asked that the words
so far have answered, because such a turn teaches to read and not to look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.scenes.claims import Asker
from sensorium.data.scenes.facts import RELATIONS, Facts
from sensorium.data.scenes.phrases import Phrases, joined, name_words, things
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.grounding import format_grounded

_ABSENT_SHARE = 0.06  # of open questions presuppose what is not there, and are answered so
_FOLLOW_SHARE = 0.6  # of questions about what the turn before was about say "it"


@dataclass(frozen=True)
class Turn:
    """A question and its answer. kind: what was asked; focus: what "it" now means, if anything."""

    kind: str
    question: str
    answer: str
    focus: str | None = None


@dataclass
class Talk:
    """What a conversation has said so far.

    told: facts given away, as (what, name); shared by all talks on one picture, so that they differ.
    mentioned: names spoken in this talk. focus: what the last turn was about; last: its kind; turn: how many before.
    """

    facts: Facts
    told: set[tuple[str, str]] = field(default_factory=set)
    mentioned: set[str] = field(default_factory=set)
    focus: str | None = None
    last: str | None = None
    turn: int = 0

    def fresh(self, what: str, names: Sequence[str]) -> list[str]:
        """The names of which that fact is untold; the focus alone if it is among them, so that talks hang together."""
        untold = [name for name in names if (what, name) not in self.told]
        return [self.focus] if self.focus in untold and self.focus else untold

    def tell(self, what: str, *names: str) -> None:
        self.mentioned.update(names)
        self.told.update((what, name) for name in names)


@dataclass(frozen=True)
class Speaker:
    """What every question needs: the words, the names, and who knows what is absent."""

    vocabulary: Vocabulary
    phrases: Phrases
    asker: Asker

    def words(self, talk: Talk, name: str) -> dict[str, str]:
        return name_words(self.vocabulary, name, talk.facts.counts.get(name, 1))

    def absent(self, kind: str, talk: Talk, rng: np.random.Generator) -> Turn | None:
        """Now and then: a question about what is not there, answered so."""
        if rng.random() > _ABSENT_SHARE:
            return None
        names = [name for name in self.asker.absent_names(talk.facts, rng) if name not in talk.mentioned]
        if not names:
            return None
        words = name_words(self.vocabulary, names[0])
        talk.tell("existence", names[0])
        return Turn(
            kind, self.phrases.say(f"{kind}.question", rng, words), self.phrases.say(f"{kind}.none", rng, words)
        )


def ask_count(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "How many apples are there?" """
    if turn := speaker.absent("count", talk, rng):
        return turn
    names = talk.fresh("count", list(talk.facts.counts))
    if not names:
        return None
    # Ones are most of the world: a repeated kind is preferred, or "one" would be a good blind answer.
    repeated = [name for name in names if talk.facts.counts[name] > 1]
    name = pick(repeated or names, rng)
    count = talk.facts.counts[name]
    words = {**speaker.words(talk, name), "things": things(speaker.vocabulary, name, count, numeral=True)}
    follows = talk.focus == name and talk.last == "existence" and rng.random() < _FOLLOW_SHARE
    talk.tell("count", name)
    if not follows and rng.random() < 0.2:
        return Turn("count", speaker.phrases.say("count.short", rng, words), words["digit"], name)
    question = speaker.phrases.say("count.follow" if follows else "count.question", rng, words)
    return Turn("count", question, speaker.phrases.say("count.answer", rng, words), name)


def ask_color(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What color is the car?" """
    if turn := speaker.absent("color", talk, rng):
        return turn
    names = talk.fresh("color", list(talk.facts.colours))
    if not names:
        return None
    name = pick(names, rng)
    words = {**speaker.words(talk, name), "color": talk.facts.colours[name]}
    is_one = talk.facts.counts[name] == 1
    many = "" if is_one else "_many"
    follows = talk.focus == name and rng.random() < _FOLLOW_SHARE
    talk.tell("color", name)
    if not follows and is_one and rng.random() < 0.2:
        return Turn("color", speaker.phrases.say("color.short", rng, words), words["color"].capitalize(), name)
    question = speaker.phrases.say(f"color.{'follow' if follows else 'question'}{many}", rng, words)
    reply = ("answer_it" if is_one else "answer_they") if follows else f"answer{many}"
    return Turn("color", question, speaker.phrases.say(f"color.{reply}", rng, words), name)


def ask_where(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "Where is the dog?" """
    if turn := speaker.absent("where", talk, rng):
        return turn
    placed = {name: place for name in talk.facts.singles if (place := talk.facts.place(name))}
    names = talk.fresh("place", list(placed))
    if not names:
        return None
    name = pick(names, rng)
    words = {**speaker.words(talk, name), "place": placed[name]}
    follows = talk.focus == name and rng.random() < _FOLLOW_SHARE
    question = speaker.phrases.say("where.follow" if follows else "where.question", rng, words)
    related = [(b, relation) for (a, b), relation in talk.facts.relations.items() if a == name]
    reply = "where.answer_it" if follows else "where.answer"
    talk.tell("place", name)
    if related and not follows and rng.random() < 0.35:
        other, relation = pick(related, rng)
        words.update(name_words(speaker.vocabulary, other, 1, "other_"), relation=RELATIONS[relation])
        talk.tell("existence", other)
        talk.tell("relation", f"{name} {other}", f"{other} {name}")
        reply = "where.answer_related"
    return Turn("where", question, speaker.phrases.say(reply, rng, words), name)


def ask_relative(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "Where is the dog relative to the car?" """
    pairs = [pair for pair in talk.facts.relations if ("relation", " ".join(pair)) not in talk.told]
    if not pairs:
        return None
    name, other = pick(pairs, rng)
    relation = RELATIONS[talk.facts.relations[name, other]]
    words = {
        **speaker.words(talk, name),
        **name_words(speaker.vocabulary, other, 1, "other_"),
        "true_relation": relation,
    }
    talk.mentioned.update((name, other))
    talk.told.update({("relation", f"{name} {other}"), ("relation", f"{other} {name}")})
    question = speaker.phrases.say("relative.question", rng, words)
    return Turn("relative", question, speaker.phrases.say("relative.answer", rng, words), name)


def ask_beside(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What is to the left of the dog?" """
    found = [
        (anchor, relation, other)
        for anchor in talk.facts.singles
        for relation in RELATIONS
        if (other := talk.facts.only(anchor, relation)) and other not in talk.mentioned
    ]
    if not found:
        return None
    anchor, relation, other = pick(found, rng)
    words = {**speaker.words(talk, anchor), **name_words(speaker.vocabulary, other, 1, "other_")}
    words["relation"] = RELATIONS[relation]
    talk.tell("existence", anchor, other)
    talk.told.update({("relation", f"{anchor} {other}"), ("relation", f"{other} {anchor}")})
    question = speaker.phrases.say("beside.question", rng, words)
    return Turn("beside", question, speaker.phrases.say("beside.answer", rng, words), other)


def ask_which(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "Which object is red?" """
    colours = {colour: name for colour in talk.facts.colours.values() if (name := talk.facts.only_coloured(colour))}
    untold = [c for c, name in colours.items() if ("color", name) not in talk.told and len(talk.facts.counts) > 1]
    if not untold:
        return None
    colour = pick(untold, rng)
    name = colours[colour]
    words = {**speaker.words(talk, name), "color": colour}
    talk.tell("color", name)
    many = "" if talk.facts.counts[name] == 1 else "_many"
    return Turn(
        "which",
        speaker.phrases.say("which.question", rng, words),
        speaker.phrases.say(f"color.answer{many}", rng, words),
        name,
    )


def ask_largest(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What is the largest object?" """
    name = talk.facts.largest
    if name is None or ("largest", name) in talk.told:
        return None
    talk.tell("largest", name)
    words = speaker.words(talk, name)
    return Turn(
        "largest",
        speaker.phrases.say("largest.question", rng, words),
        speaker.phrases.say("largest.answer", rng, words),
        name,
    )


def ask_this(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What is this?", where there is one kind of thing only."""
    (name, count), *others = talk.facts.counts.items()
    if others or name in talk.mentioned:
        return None
    words = speaker.words(talk, name)
    talk.tell("count", name)
    reply = "this.answer" if count == 1 else "this.answer_many"
    return Turn("this", speaker.phrases.say("this.question", rng, words), speaker.phrases.say(reply, rng, words), name)


def ask_ground(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "Where is the dog? Answer with a box." """
    names = talk.fresh("box", list(talk.facts.counts))
    if not names:
        return None
    name = pick(names, rng)
    words = speaker.words(talk, name)
    many = "" if talk.facts.counts[name] == 1 else "_many"
    follows = talk.focus == name and rng.random() < _FOLLOW_SHARE
    talk.tell("box", name)
    talk.tell("count", name)
    question = speaker.phrases.say(f"ground.{'follow' if follows else 'question'}{many}", rng, words)
    return Turn("ground", question, format_grounded(words[f"the{many}"], *talk.facts.spoken_boxes[name]), name)


def ask_region(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What is in <box>(x1,y1),(x2,y2)</box>?" """
    names = [name for name in talk.facts.counts if name not in talk.mentioned and ("box", name) not in talk.told]
    if not names:
        return None
    name = pick(names, rng)
    words = {**speaker.words(talk, name), "box": format_grounded("", pick(talk.facts.spoken_boxes[name], rng))}
    talk.tell("box", name)
    focus = name if talk.facts.counts[name] == 1 else None
    return Turn(
        "region",
        speaker.phrases.say("region.question", rng, words),
        speaker.phrases.say("region.answer", rng, words),
        focus,
    )


def ask_list(speaker: Speaker, talk: Talk, rng: np.random.Generator) -> Turn | None:
    """ "What objects do you see?" """
    if talk.mentioned.intersection(talk.facts.counts):
        return None
    words = {"list": listing(speaker.vocabulary, talk.facts)}
    talk.tell("count", *talk.facts.counts)
    return Turn(
        "list", speaker.phrases.say("list.question", rng, words), speaker.phrases.say("list.answer", rng, words)
    )


def listing(vocabulary: Vocabulary, facts: Facts, with_colours: bool = False) -> str:
    """ "two red apples, a dog and a car", from left to right."""
    colours = facts.colours if with_colours else {}
    return joined([things(vocabulary, name, count, colours.get(name)) for name, count in facts.counts.items()])


Question = Callable[[Speaker, Talk, np.random.Generator], Turn | None]
OPEN: dict[str, Question] = {
    "count": ask_count,
    "color": ask_color,
    "where": ask_where,
    "relative": ask_relative,
    "beside": ask_beside,
    "which": ask_which,
    "largest": ask_largest,
    "this": ask_this,
    "ground": ask_ground,
    "region": ask_region,
    "list": ask_list,
}
