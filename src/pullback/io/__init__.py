"""Files of weights."""

from pullback.io.safetensors import load, metadata, save

__all__ = ["load", "metadata", "save"]
