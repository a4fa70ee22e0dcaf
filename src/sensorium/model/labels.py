"""The label of a position that is not supervised; apart from what needs torch, because rendering does not."""

IGNORE = -100  # torch's convention
