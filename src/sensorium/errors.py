"""The one exception for what a person can mend.

`SensoriumError` says where something is wrong, what was found and expected, and what to do. The command line prints it
in one line and exits with code 2; programming errors keep their traceback and are never wrapped in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SensoriumError(Exception):
    """Something the user can mend.

    where: the file, row, field or option at fault; what: what is wrong with it; remedy: what to do, may be empty.
    """

    def __init__(self, where: object, what: str, remedy: str = "") -> None:
        self.where, self.what, self.remedy = str(where), what, remedy
        super().__init__(f"{self.where}: {what}" + (f" {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type[SensoriumError], tuple[str, str, str]]:
        # Exceptions pickle by their args; ours takes three, and errors cross process borders when data is built.
        return type(self), (self.where, self.what, self.remedy)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest known one, else the list of all."""
    known = sorted(known)
    if len(wrong) > 100:  # nobody's typing error, and comparing takes time that grows with it
        return f"Known: {', '.join(known)}."
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known)}."
