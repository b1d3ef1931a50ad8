"""The backward table: how a gradient is computed, step by step, in the user's own names."""

from pullback.explain.report import Dependency, Report, Row
from pullback.explain.table import explain

__all__ = ["Dependency", "Report", "Row", "explain"]
