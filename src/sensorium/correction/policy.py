"""When to change a text: the risk that a user takes, and what happens below it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """How much must be known before a word is changed.

    risk: a claim is edited only where the chance that it is true is at most this, so that of a hundred edited claims
    about `100 * risk` were right. support: the chance from which a claim counts as shown. doubtful: what is done with
    claims that are more likely false than `doubt` says, but not sure enough to edit: left, flagged for the reader, or
    hedged in the text; of what nothing is known nothing is ever changed. add_missing: also tell of things that are
    surely there and that the question asks for. boxes: write the boxes of what is shown into `Report.grounded`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    risk: float = Field(default=0.05, gt=0, lt=0.5)
    support: float = Field(default=0.8, gt=0.5, lt=1)
    doubt: float = Field(default=0.35, gt=0, lt=0.5)
    doubtful: Literal["leave", "flag", "hedge"] = "leave"
    add_missing: bool = False
    boxes: bool = True
