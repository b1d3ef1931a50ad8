"""The backward table: how a gradient is computed, step by step, in the user's own names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pullback.explanation.report import Report

__all__ = ["explain"]


def explain(
    fun: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0, **kwargs: Any
) -> Report:
    """Show how the gradient of ``fun`` at ``args`` is computed: the backward table.

    Each value that your code names is a row: how it is computed, and, in reverse order, how its
    gradient is, what that reads (residuals kept from the forward run are marked *cached*, those of
    a checkpoint *recomputed*), its shape, your line, and what it costs. Formulas are NumPy
    expressions in which ``dL/dz`` stands for the row of that name.

    Args:
        fun: returns one floating-point array. If it is no scalar, the sum of its elements is
            differentiated.
        args: the point; containers of arrays.
        argnums: position(s) of the differentiated arguments.
        kwargs: passed on to ``fun``.

    Returns:
        A report: ``print`` it, index it by a name (``report["z2"].value``), or read ``rows``.

    Raises:
        NotDifferentiableError: if the output does not depend on the arguments.
        ArgumentError: if there are several outputs.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     z = x @ w
    ...     return np.sum(np.tanh(z))
    >>> report = pb.explain(loss, np.zeros(3), np.ones((2, 3)))
    >>> for row in report.rows:
    ...     print(row.name, "=", row.formula, row.value)
    dloss/dz = 1 - tanh(z) * tanh(z) [1. 1.]
    dloss/dw = x.T @ dloss/dz [2. 2. 2.]
    """
    # Imported when it is first used, so that `import pullback` costs little.
    report: Report = importlib.import_module("pullback.explanation.table").tabulate(
        fun, args, argnums, kwargs
    )
    return report
