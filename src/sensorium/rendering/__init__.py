"""Conversation -> token ids, label spans and visual slots; rendered samples -> batches.

Training and use share this one renderer, so their templates cannot differ.
"""

from sensorium.rendering.batching import collate
from sensorium.rendering.prefix import share_prefix
from sensorium.rendering.renderer import Rendered, Renderer, Slot

__all__ = ["Rendered", "Renderer", "Slot", "collate", "share_prefix"]
