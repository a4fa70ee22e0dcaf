"""Which things of a vocabulary a free text names.

Whole words, longest match first, so that "a hot dog" is no dog; singulars, plurals and synonyms all count as the one
name. A few names are also everyday words of another kind ("an orange cat", "I can see", "a sweet smile"): those count
only where they stand as a noun, after an article or a number and before nothing that they could describe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sensorium.data.records import COLOURS
from sensorium.data.scenes.vocabulary import Vocabulary, VocabularyEntry, inflected

# Words for the picture itself, never for a thing in it.
_MEDIUM = frozenset({"picture", "pictures", "image", "images", "photo", "photos"})
# Names and synonyms that descriptions also use as adjective or verb.
_HOMOGRAPHS = frozenset((
    "orange", "can", "sweet", "fly", "saw", "present", "record", "watch", "ring", "bow", "tie", "label", "target",
    "balance", "scale", "iron", "lock", "slide", "home", "rose", "cook", "film", "plug", "map", "comb", "hook", "star",
    "store", "shop",
))  # fmt: skip
_DETERMINER = r"a|an|the|one|two|three|four|five|six|seven|eight|nine|ten|\d+|this|that|these|those|another|some|no"
_FOLLOWER = (
    "and|or|but|is|are|was|were|on|in|at|to|with|of|near|beside|next|above|below|behind|under|over|between|by|from|"
    "that|which"
)
_COLOUR = "|".join((*COLOURS, "grey"))
_BEFORE = re.compile(rf"(?:^|[^\w-])(?:{_DETERMINER})\s+(?:(?:{_COLOUR})\s+)?$", re.I)
_AFTER = re.compile(rf"\s*(?:$|[^\w\s-]|(?:{_FOLLOWER})\b(?!\s+(?:{_COLOUR})\b))", re.I)


class Names:
    """Finds names in text. names: those that count; words that the shipped vocabulary knows bring their synonyms.

    A form that two names share belongs to the one of which it is the natural phrase: "glasses" are several of "glass",
    since the others are spoken of as "a pair of glasses".
    """

    def __init__(self, names: Iterable[str], vocabulary: Vocabulary | None = None) -> None:
        vocabulary = vocabulary or Vocabulary.load()
        entries = [vocabulary[name] if name in vocabulary else _plain(name) for name in names]
        self._owner: dict[str, str] = {}
        for forms in (_phrases, _bare, _synonyms, _variants):
            for entry in entries:
                for form in forms(entry):
                    if form not in _MEDIUM:
                        self._owner.setdefault(_spaced(form), entry.name)
        longest_first = sorted(self._owner, key=lambda form: (-len(form), form))
        words = "|".join(r"[\s-]+".join(map(re.escape, form.split(" "))) for form in longest_first)
        self._pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.I) if longest_first else None

    def find(self, text: str) -> list[str]:
        """The names in the text, each once, in the order of their first mention."""
        return list(dict.fromkeys(self.mentions(text)))

    def mentions(self, text: str) -> list[str]:
        """The name of every mention, repeats kept."""
        found = []
        for match in self._pattern.finditer(text) if self._pattern else ():
            form = _spaced(match[0])
            if form not in _HOMOGRAPHS or _is_noun(text, match):
                found.append(self._owner[form])
        return found


def _spaced(form: str) -> str:
    """Lower case, words apart: "Teddy-bear" and "teddy bear" are one form."""
    return re.sub(r"[\s-]+", " ", form.lower())


def _is_noun(text: str, match: re.Match[str]) -> bool:
    return bool(_BEFORE.search(text[: match.start()]) and _AFTER.match(text[match.end() :]))


def _plain(name: str) -> VocabularyEntry:
    """An entry for a name that the shipped vocabulary does not know (a dataset may bring its own)."""
    return VocabularyEntry(name, inflected().plural_noun(name) or name, inflected().a(name).split(" ", 1)[0], "")


def _phrases(entry: VocabularyEntry) -> Sequence[str]:
    return entry.counted(1), entry.plural


def _bare(entry: VocabularyEntry) -> Sequence[str]:
    return (entry.name,)


def _synonyms(entry: VocabularyEntry) -> Sequence[str]:
    return *entry.synonyms, *(inflected().plural_noun(word) or word for word in entry.synonyms)


def _variants(entry: VocabularyEntry) -> Sequence[str]:
    """Plurals that people write beside the vocabulary's: "corals" for pieces of coral, "bisons", "flamingos"."""
    return inflected().plural_noun(entry.name) or entry.name, f"{entry.name}s"
