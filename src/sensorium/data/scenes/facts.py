"""What is plainly true of a scene, ready to be asked: counts, colours, places, relations.

Everything doubtful is left out: a place near a border between regions, a pair that is neither beside nor above one
another, a kind whose instances differ in colour. A question about it would teach noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sensorium.data.records import Scene, SceneObject
from sensorium.grounding import Box

# Colours that run into one another: never the wrong answer to a question about the other.
_NEIGHBOURS = {
    frozenset(pair)
    for pair in (
        ("red", "orange"),
        ("red", "pink"),
        ("red", "brown"),
        ("orange", "yellow"),
        ("orange", "brown"),
        ("yellow", "brown"),
        ("purple", "pink"),
        ("purple", "blue"),
        ("black", "gray"),
        ("black", "brown"),
        ("white", "gray"),
    )
}
_LEAST_OFFSET = 150  # thousandths between two centres before one is "to the left" or "above"
_DOMINANCE = 1.2  # and how much larger than along the other axis
_LARGER = 1.4  # times the area of any other thing: plainly the largest

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
RELATIONS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
PLACES = {
    ("left", "top"): "in the top left",
    ("left", "bottom"): "in the bottom left",
    ("right", "top"): "in the top right",
    ("right", "bottom"): "in the bottom right",
    ("middle", "top"): "at the top",
    ("middle", "bottom"): "at the bottom",
    ("left", "middle"): "on the left side",
    ("right", "middle"): "on the right side",
    ("middle", "middle"): "in the middle",
}
SIDES = {"left": "on the left side", "right": "on the right side", "top": "at the top", "bottom": "at the bottom"}


@dataclass(frozen=True)
class Facts:
    """A scene seen by kinds. shows: names that the background holds, of which nothing may be asked."""

    scene: Scene
    shows: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Name -> how many, from left to right by the leftmost instance: the order in which captions speak."""
        left: dict[str, float] = {}
        for thing in self.scene.objects:
            left[thing.name] = min(left.get(thing.name, 2000), centre(thing.box)[0])
        return {name: len(self.scene.of(name)) for name in sorted(left, key=lambda name: (left[name], name))}

    @cached_property
    def singles(self) -> tuple[str, ...]:
        return tuple(name for name, count in self.counts.items() if count == 1)

    @cached_property
    def colours(self) -> dict[str, str]:
        """Name -> the clear colour that all its instances share."""
        shared = {}
        for name in self.counts:
            colours = {thing.colour for thing in self.scene.of(name)}
            colour = colours.pop()
            if colour is not None and not colours:
                shared[name] = colour
        return shared

    @cached_property
    def boxes(self) -> dict[str, tuple[Box, ...]]:
        """Name -> its boxes from left to right."""
        return {
            name: tuple(sorted((t.box for t in self.scene.of(name)), key=lambda b: (centre(b), b.corners)))
            for name in self.counts
        }

    @cached_property
    def spoken_boxes(self) -> dict[str, tuple[Box, ...]]:
        """The same in whole hundredths: a third digit cannot be seen, and learning it would be learning noise."""
        return {name: tuple(map(_in_hundredths, boxes)) for name, boxes in self.boxes.items()}

    @cached_property
    def places(self) -> dict[str, tuple[str | None, str | None]]:
        """Name of a single thing -> (left, middle, right or None; top, middle, bottom or None)."""
        places = {}
        for name in self.singles:
            x, y = centre(self.boxes[name][0])
            places[name] = (_zone(x, "left", "right"), _zone(y, "top", "bottom"))
        return places

    def place(self, name: str) -> str | None:
        """ "in the top left", or None where it is doubtful or the thing is not single."""
        across, down = self.places.get(name, (None, None))
        if across is None or down is None:
            # One side that is clear is said alone; a doubtful "middle" is not.
            side = next((zone for zone in (across, down) if zone in SIDES), None)
            return SIDES[side] if side else None
        return PLACES[across, down]

    @cached_property
    def relations(self) -> dict[tuple[str, str], str]:
        """(a, b) -> where a is, seen from b: "left", "right", "above" or "below"; clear pairs of single things only."""
        found = {}
        for a in self.singles:
            for b in self.singles:
                if a != b and (relation := between(self.boxes[a][0], self.boxes[b][0])):
                    found[a, b] = relation
        return found

    @cached_property
    def largest(self) -> str | None:
        """The single thing that is plainly larger than every other, where there are several."""
        things = sorted(self.scene.objects, key=lambda thing: -thing.box.area)
        if len(things) < 2 or things[0].box.area < _LARGER * things[1].box.area or self.counts[things[0].name] > 1:
            return None
        return things[0].name

    def only(self, anchor: str, relation: str) -> str | None:
        """The one single thing in that direction of the anchor, when nothing else might be said to be there."""
        centre_of_anchor = centre(self.boxes[anchor][0])
        candidates = {thing.name for thing in self.scene.objects if _leans(thing, centre_of_anchor, relation)}
        name = candidates.pop() if len(candidates) == 1 else None
        return name if name and self.relations.get((name, anchor)) == relation else None

    def only_coloured(self, colour: str) -> str | None:
        """The one kind of that colour, when every other kind plainly has another."""
        if len(self.colours) < len(self.counts):
            return None
        alike = [name for name, other in self.colours.items() if other == colour or neighbours(other, colour)]
        return alike[0] if len(alike) == 1 and self.colours[alike[0]] == colour else None


def _in_hundredths(box: Box) -> Box:
    return Box(*(min(990, 10 * round(corner / 10)) for corner in box.corners))


def centre(box: Box) -> tuple[float, float]:
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2


def between(a: Box, b: Box) -> str | None:
    """Where a is, seen from b, when that is plain."""
    (ax, ay), (bx, by) = centre(a), centre(b)
    dx, dy = ax - bx, ay - by
    if abs(dx) >= _LEAST_OFFSET and abs(dx) >= _DOMINANCE * abs(dy):
        return "left" if dx < 0 else "right"
    if abs(dy) >= _LEAST_OFFSET and abs(dy) >= _DOMINANCE * abs(dx):
        return "above" if dy < 0 else "below"
    return None


def neighbours(one: str, other: str) -> bool:
    """Whether two colours might be taken for one another."""
    return frozenset((one, other)) in _NEIGHBOURS


def _zone(value: float, low: str, high: str) -> str | None:
    if value < 360:
        return low
    if value > 640:
        return high
    return "middle" if 425 <= value <= 575 else None


def _leans(thing: SceneObject, anchor: tuple[float, float], relation: str) -> bool:
    """Whether a thing is at all in that direction of the anchor."""
    x, y = centre(thing.box)
    offset = {"left": anchor[0] - x, "right": x - anchor[0], "above": anchor[1] - y, "below": y - anchor[1]}
    return offset[relation] > 30
