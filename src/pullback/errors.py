"""Every error that Pullback raises.

    PullbackError
    ├── ArgumentError (ValueError)            an argument of a Pullback function makes no sense
    ├── ShapeError (ValueError)               shapes that do not fit an operation
    ├── DTypeError (TypeError)                a dtype that cannot be differentiated or mixed
    ├── ForeignArrayError (TypeError)         an array with its own rules: masked, sparse, ...
    ├── TracedValueError (TypeError)          a traced value forced into a plain one
    │   └── StagingError (TypeError)          a value needed while only shapes are known
    ├── MutationError (RuntimeError)          an array changed where its gradient would be lost
    ├── LeakedTracerError (RuntimeError)      a traced value used after its transform ended
    ├── NotDifferentiableError (TypeError)    a derivative that does not exist
    ├── MissingRuleError (NotImplementedError)   a derivative that nobody wrote yet
    ├── OperationError (Exception)            NumPy's refusal of operands; also of NumPy's class
    ├── UnsupportedError (NotImplementedError)   a NumPy function or option without a rule
    ├── CompileError (RuntimeError)           a graph without native code
    ├── BudgetError (MemoryError)             a budget of memory that cannot be kept
    ├── NonFiniteError (FloatingPointError)   NaN or infinity where training cannot go on
    ├── ConvergenceError (RuntimeError)       a solver that found no solution
    ├── DataError (ValueError)                a bad data file, with its row and column
    └── SnapshotError (ValueError)            a damaged or foreign weight file

Each also inherits the builtin in brackets, so ``except ValueError`` keeps working. The text
always reads: what happened, the user's line, what came, and one remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "ArgumentError",
    "BudgetError",
    "CompileError",
    "ConvergenceError",
    "DTypeError",
    "DataError",
    "ForeignArrayError",
    "LeakedTracerError",
    "MissingRuleError",
    "MutationError",
    "NonFiniteError",
    "NotDifferentiableError",
    "OperationError",
    "PullbackError",
    "ShapeError",
    "SnapshotError",
    "StagingError",
    "TracedValueError",
    "UnsupportedError",
]


class PullbackError(Exception):
    """Base of all errors of this package.

    Args:
        headline: what happened, in one line.
        where: the user's line, as ``model.py:42 in forward: h = x @ W``.
        details: what was expected and what came: shapes, dtypes, parameter paths.
        fix: one remedy.
    """

    def __init__(
        self,
        headline: str,
        *,
        where: str | None = None,
        details: Sequence[str] = (),
        fix: str | None = None,
    ) -> None:
        self.headline = headline
        self.where = where
        self.details = tuple(details)
        self.fix = fix
        lines = [headline]
        if where:
            lines.append(f"  {where}")
        lines += [f"  {detail}" for detail in details]
        if fix:
            lines.append(f"  Fix: {fix}")
        super().__init__("\n".join(lines))


class ArgumentError(PullbackError, ValueError):
    """An argument of a Pullback function makes no sense."""


class ShapeError(PullbackError, ValueError):
    """Shapes that do not fit an operation."""


class DTypeError(PullbackError, TypeError):
    """A dtype that cannot be differentiated, or that two operands cannot share."""


class ForeignArrayError(PullbackError, TypeError):
    """An array with rules of its own meets a traced one, or is given to a transform."""


class TracedValueError(PullbackError, TypeError):
    """A traced value was forced into a plain one, which would cut its gradient."""


class StagingError(TracedValueError):
    """A value is needed while only shapes and dtypes are known."""


class MutationError(PullbackError, RuntimeError):
    """An array was changed where its gradient would be lost or wrong."""


class LeakedTracerError(PullbackError, RuntimeError):
    """A traced value was used after the transform that made it had ended."""


class NotDifferentiableError(PullbackError, TypeError):
    """The derivative asked for does not exist."""


class MissingRuleError(PullbackError, NotImplementedError):
    """The derivative exists, but the primitive has no rule for it yet."""


class OperationError(PullbackError, Exception):
    """NumPy refuses the operands of an operation: an axis, a shape, an index, a keyword.

    It also is of the class that NumPy raises: ``ValueError``, ``IndexError``, ``AxisError``,
    ``LinAlgError``, ...
    """

    _of: ClassVar[dict[type, type[OperationError]]] = {}

    @classmethod
    def of(cls, kind: type[BaseException]) -> type[OperationError]:
        """The subclass that is also a ``kind``."""
        if kind not in cls._of:
            names = {"__doc__": cls.__doc__, "__module__": cls.__module__}
            cls._of[kind] = type(cls.__name__, (cls, kind), names)
        return cls._of[kind]


class UnsupportedError(PullbackError, NotImplementedError):
    """A NumPy function, or an option of one, that has no traced form."""


class CompileError(PullbackError, RuntimeError):
    """A graph could not be turned into native code."""


class BudgetError(PullbackError, MemoryError):
    """A budget of memory that no order of computation keeps to."""


class NonFiniteError(PullbackError, FloatingPointError):
    """A NaN or an infinity appeared where the computation cannot go on."""


class ConvergenceError(PullbackError, RuntimeError):
    """A solver found no solution, so there is nothing to differentiate."""


class DataError(PullbackError, ValueError):
    """A data file is missing, malformed, or lacks a value: names the row and the column."""


class SnapshotError(PullbackError, ValueError):
    """A weight file is damaged, foreign, or does not fit the model."""
