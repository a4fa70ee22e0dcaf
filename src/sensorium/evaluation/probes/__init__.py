"""Probes: what a score hides. Is the picture needed, does the order of options matter, was the test seen before?

A probe asks changed questions, or looks at replies that are there already. Those that ask are in `PROBES`; each keeps
its replies in a folder of its own, `OUT/probes/NAME`, so that they are scored again with the run. What needs no asking
(replies that nobody could read, a leaning towards yes) is found in every run. `findings` puts all of it together.
"""

from sensorium.evaluation.probes.base import BASE, FOLDER, Probe
from sensorium.evaluation.probes.blind import GREY, NO_PICTURE, SHUFFLED
from sensorium.evaluation.probes.frames import FRAMES, SINGLE_FRAME, SUBTITLES_ONLY
from sensorium.evaluation.probes.rotation import ROTATE
from sensorium.evaluation.probes.sizes import SIZES
from sensorium.evaluation.probes.slots import SLOTS

PROBES: dict[str, Probe] = {
    one.name: one
    for one in (NO_PICTURE, GREY, SHUFFLED, SINGLE_FRAME, SUBTITLES_ONLY, ROTATE, SLOTS, SIZES, FRAMES)
}

__all__ = ["BASE", "FOLDER", "PROBES", "Probe"]
