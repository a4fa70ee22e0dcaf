"""Scenes that move: films of cut-outs whose every happening is known, and what is asked about them."""
