"""What the language model is asked: one line of role, rules, worked examples, then the text itself.

The shape is the original's, the words are not: it has no licence.
"""

from __future__ import annotations

from sensorium.correction.woodpecker.records import Told

ROLE = "You work with texts about images. You follow the rules and write nothing but what is asked for."

_RESOLVE = """Write the passage again so that each sentence can be understood alone.
Rules:
- Put the thing that is meant in the place of every pronoun.
- Change nothing else: no sentence is added, left out or joined with another.

Passage: A woman feeds a horse. It is brown and she wears a hat.
Rewritten: A woman feeds a horse. The horse is brown and the woman wears a hat.

Passage: Several boats lie in the harbour. They look old.
Rewritten: Several boats lie in the harbour. The boats look old.

Passage: {passage}
Rewritten:"""

_CONCEPTS = """Name the things in the sentence that one could point at in an image.
Rules:
- Singular nouns, joined by full stops. Of two words for one kind of thing, the simpler one.
- Things only: no moods, places in the image, colours, or the image itself.
- Things that are said not to be there count too.
- Without any, write None.

Sentence: Two old men and a man in a red coat wait near the bus.
Things: man.coat.bus

Sentence: There is no clock on the wall of the kitchen.
Things: clock.wall.kitchen

Sentence: The atmosphere is relaxed and cheerful.
Things: None

Sentence: A bowl of apples stands on a round table.
Things: bowl.apple.table

Sentence: {sentence}
Things:"""

_QUESTIONS = """Ask what must be looked up in the image to check the sentence.
Rules:
- Ask about attributes, actions and places of the things listed, never whether they are there or how many.
- One question a line, then "&", then the things that it is about, joined by full stops.
- Name no other things than those listed. Without any question, write None.

Sentence: A brown dog sleeps on the green sofa.
Things: dog.sofa
Questions:
What colour is the dog? & dog
What is the dog doing? & dog
What colour is the sofa? & sofa
Is the dog on the sofa? & dog.sofa

Sentence: There are three cups.
Things: cup
Questions:
None

Sentence: A man with a hat stands left of a car.
Things: man.car
Questions:
What is the man wearing on the head? & man
Is the man on the left of the car? & man.car

Sentence: {sentence}
Things: {entities}
Questions:"""

_REFINE = """Correct the passage with the facts that were found out about the image.
Rules:
- Numbers of things must be those of the facts. What the facts say is not there must not be said to be there.
- Attributes and actions must agree with the facts about single things and about the whole image.
- For left, right, above and below, compare the boxes: [left, top, right, bottom], 0 to 1 from the upper left corner.
- A kind of a thing counts as the thing: a fact about a person may be about the man in the passage.
- After the first mention of a thing that has boxes write them in round brackets, several joined by semicolons.
- If the passage answers a question, the corrected one must answer it too, and begin with Yes or No where it did.
- Keep every word that the facts do not speak against. Write the corrected passage alone.

Facts:
Counting: There are 2 dogs: [0.1, 0.4, 0.3, 0.9]; [0.5, 0.4, 0.7, 0.9]. There is no cat.
Single things: dog 1: What colour is the dog? brown
Whole image: none
Question: Describe the image.
Passage: Three white dogs and a cat play in the snow.
Corrected: Two brown dogs([0.1, 0.4, 0.3, 0.9]; [0.5, 0.4, 0.7, 0.9]) play in the snow.

Facts:
Counting: There is no bus.
Single things: none
Whole image: none
Question: Is there a bus in the image?
Passage: Yes, there is a bus in the image.
Corrected: No, there is no bus in the image.

Facts:
Counting: There is 1 person: [0.2, 0.1, 0.5, 0.9]. There is 1 car: [0.6, 0.3, 0.9, 0.7].
Single things: none
Whole image: Is the man on the right of the car? no
Question: none
Passage: A man stands on the right of a car.
Corrected: A man([0.2, 0.1, 0.5, 0.9]) stands on the left of a car([0.6, 0.3, 0.9, 0.7]).

Facts:
Counting: {counting}
Single things: {specific}
Whole image: {overall}
Question: {question}
Passage: {passage}
Corrected:"""


def resolve(passage: str) -> str:
    return _RESOLVE.format(passage=passage)


def concepts(sentence: str) -> str:
    return _CONCEPTS.format(sentence=sentence)


def questions(sentence: str, entities: tuple[str, ...]) -> str:
    return _QUESTIONS.format(sentence=sentence, entities=".".join(entities))


def refine(told: Told, question: str | None, passage: str) -> str:
    def listed(facts: tuple[str, ...]) -> str:
        return " ".join(facts) or "none"

    return _REFINE.format(counting=listed(told.counting), specific=listed(told.specific), overall=listed(told.overall),
                          question=question or "none", passage=passage)  # fmt: skip
