"""Levenshtein's distance by Myers' bit vectors ("A fast bit-vector algorithm", JACM 1999), in Hyyrö's form.

A column of the usual table is one integer, so that replies of thousands of characters cost milliseconds, not minutes.
"""

from __future__ import annotations


def edit_distance(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements of characters that make one of the other."""
    if first == second:
        return 0
    if len(first) > len(second):
        first, second = second, first
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for i, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << i
    full, last = (1 << len(first)) - 1, 1 << len(first) - 1
    up, down, distance = full, 0, len(first)  # where a column rises by one from row to row, and where it falls
    for character in second:
        match = places.get(character, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        rises, falls = down | ~(diagonal | up) & full, up & diagonal
        if rises & last:
            distance += 1
        elif falls & last:
            distance -= 1
        rises = rises << 1 & full | 1
        up, down = falls << 1 & full | ~(diagonal | rises) & full, rises & diagonal
    return distance
