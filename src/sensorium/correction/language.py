"""English text read into tokens, tags and dependencies: spaCy with the small model that a package ships.

Everything above works on the `Doc` of the original text, whose tokens know their characters; the text is never
rewritten on the way. Text in another language is refused in one clear line, because rules of English would make
nonsense of it.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from sensorium.errors import SensoriumError
from sensorium.parts import locate
from sensorium.progress import ProgressCallback

if TYPE_CHECKING:
    from spacy.tokens import Doc

PART = "english-parser-small"
MAX_CHARACTERS = 100_000
# Function words that give a language away; those that two of them share are left out.
_FUNCTION_WORDS = {
    "English": "the is are there of and an with on it this that to their its has which at by from was not no a in do",
    "German": "der und ist ein eine auf das mit dem den nicht sind im zwei einen neben vor",
    "French": "le les est une dans avec sur il sont des du et deux qui à côté au",
    "Spanish": "el los las hay una con en es del dos junto una está sobre por",
    "Italian": "il una con di sono nella sul gli che due nel è della una accanto",
    "Portuguese": "os uma com em há são da dois na ao lado sobre um é",
    "Dutch": "het een en van met op zijn er twee naast niet aan",
}
_LEAST_WORDS = 3  # different ones; fewer say nothing about a language


def check_language(text: str, where: str = "text") -> None:
    """Raises SensoriumError for text that is empty, too long, or not English."""
    if not text.strip():
        raise SensoriumError(where, "is empty; there is nothing to correct.")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise SensoriumError(where, "holds halves of characters.", "Send it as UTF-8.")
    if len(text) > MAX_CHARACTERS:
        raise SensoriumError(where, f"has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.",
                             "Correct it in parts.")  # fmt: skip
    letters = [c for c in text if c.isalpha()]
    foreign = sum(1 for c in letters if ord(c) > 0x24F)
    if letters and foreign > 0.3 * len(letters):
        raise SensoriumError(where, "is not in a Latin script; only English is supported yet.")
    spoken = set(re.findall(r"[^\W\d_]+", text.lower()))
    hits = {name: len(spoken.intersection(own.split())) for name, own in _FUNCTION_WORDS.items()}
    likely = max(hits, key=lambda name: (hits[name], name == "English"))
    if likely != "English" and hits[likely] >= max(_LEAST_WORDS, 2 * hits["English"]):
        raise SensoriumError(where, f"seems to be {likely}; only English is supported yet.")


def load_parser(progress: ProgressCallback | None = None) -> None:
    """Fetch and load the parser now rather than at the first text. Raises SensoriumError where spaCy is missing."""
    locate(PART, progress)
    _pipeline()


def read(text: str) -> Doc:
    """The parsed text, no longer than MAX_CHARACTERS; the last few are kept, since every stage reads the same."""
    return _read(text)


@functools.lru_cache(maxsize=8)
def _read(text: str) -> Doc:
    # What stands in quotation marks is read off the picture, not said about it: its words would upset the sentence.
    doc = _pipeline()(mask_quotes(text))
    doc.user_data["text"] = text
    return doc


_QUOTED = re.compile(r"([\"“])([^\"“”\n]{1,200})([\"”])")


def quotes(text: str) -> list[tuple[int, int]]:
    """(start, end) of what stands between quotation marks, the marks left out."""
    return [match.span(2) for match in _QUOTED.finditer(text)]


def mask_quotes(text: str) -> str:
    """The text, just as long, with a name without meaning in place of every quotation."""
    return _QUOTED.sub(lambda match: match[1] + "X" * len(match[2]) + match[3], text)


@functools.cache
def _pipeline() -> Any:
    try:
        import spacy
    except ImportError as error:
        raise SensoriumError("correction", "needs spaCy to read text.", "Run `pip install 'sensorium[correct]'`."
                             ) from error  # fmt: skip
    return spacy.load(str(locate(PART)), exclude=["ner"])
