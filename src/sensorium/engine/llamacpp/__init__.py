"""The fast engine on processors: exported models in llama.cpp."""

from sensorium.engine.llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
