"""Conversation -> token ids, label spans and visual slots; `rendering.batching` makes batches of rendered samples.

Training and use share this one renderer, so their templates cannot differ.
"""

from sensorium.rendering.prefix import share_prefix
from sensorium.rendering.renderer import Rendered, Renderer, Slot

__all__ = ["Rendered", "Renderer", "Slot", "share_prefix"]
