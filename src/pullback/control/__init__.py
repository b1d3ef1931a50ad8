"""Primitives that hold graphs: their rules need the transforms, so they live above them."""

from pullback.control import call, scan

__all__ = ["call", "scan"]
