"""Pictures to begin with, and questions about them that the embedded model answers rightly (a test asks them)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PICTURES = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Example:
    """picture: a file of this package; question: in English, the one language that the embedded model reads."""

    picture: Path
    question: str


EXAMPLES = (
    Example(_PICTURES / "penguin.jpg", "What is in the picture?"),
    Example(_PICTURES / "owls.jpg", "How many owls are there?"),
    Example(_PICTURES / "cat.jpg", "Where is the balloon?"),
    Example(_PICTURES / "guitars.jpg", "Is there a chair in the picture? Please answer yes or no."),
)
