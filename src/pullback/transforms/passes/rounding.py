"""Operations that do not round: their results have the same digits wherever they are computed."""

from __future__ import annotations

__all__ = ["EXACT"]

EXACT = {
    *("absolute", "equal", "greater", "greater_equal", "less", "less_equal", "not_equal"),
    *("logical_and", "logical_not", "logical_or", "maximum", "minimum", "negative", "sign"),
    *("astype", "where"),
}
