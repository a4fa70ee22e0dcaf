"""Claims put to an engine one after the other, as `asked` and `judge` do, until it cannot be reached any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sensorium.correction.memo import Meter
from sensorium.correction.questions import pose
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import BUDGET, OUTSIDE, UNREACHED
from sensorium.errors import SensoriumError


def one_by_one(
    claims: Sequence[Claim], meter: Meter, ask: Callable[[Claim, str], Evidence],
    unknown: Callable[[Claim, str], Evidence],
) -> list[Evidence]:  # fmt: skip
    """Evidence in the order of the claims.

    ask: a claim and its question; a SensoriumError of its leaves this claim and all after it unknown. unknown: what is
    said of a claim that cannot be asked, with the reason.
    """
    found, failure = [], ""
    for claim in claims:
        question = pose(claim)
        if question is None or failure or not meter.allows():
            found.append(unknown(claim, failure or (BUDGET if question else OUTSIDE)))
            continue
        try:
            found.append(ask(claim, question.text))
        except SensoriumError as error:
            failure = f"{UNREACHED} ({error.what.rstrip('.')})"
            found.append(unknown(claim, failure))
    return found
