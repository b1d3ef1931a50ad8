"""Native forms: which emitter writes the kernel of which equation."""

from __future__ import annotations

from collections.abc import Callable

from pullback.compiler.loops.convolutions import emit_convolution
from pullback.compiler.loops.integer_products import emit_plain_product
from pullback.compiler.loops.linalg import (
    emit_cholesky,
    emit_determinant,
    emit_solve,
    emit_triangular,
)
from pullback.compiler.loops.maps import (
    Kernel,
    emit_concatenate,
    emit_gather,
    emit_map,
    emit_place,
    emit_running,
    emit_scatter,
    emit_update,
)
from pullback.compiler.loops.random import emit_random_bits
from pullback.compiler.loops.reductions import emit_reduction
from pullback.compiler.loops.sorting import emit_argsort, emit_searchsorted
from pullback.compiler.schedule.questions import is_inline
from pullback.core.graph import Equation

__all__ = ["kernel_for"]

KERNELS: dict[str, Callable[[Kernel], None]] = {
    "cumsum": emit_running,
    "cumprod": emit_running,
    "place": emit_place,
    "update": emit_update,
    "concatenate": emit_concatenate,
    "gather": emit_gather,
    "scatter": emit_scatter,
    "scatter_add": emit_scatter,
    "matmul": emit_plain_product,
    "conv": emit_convolution,
    "argsort": emit_argsort,
    "searchsorted": emit_searchsorted,
    "solve": emit_solve,
    "solve_triangular": emit_triangular,
    "log_abs_det": emit_determinant,
    "det_sign": emit_determinant,
    "cholesky": emit_cholesky,
    "random_bits": emit_random_bits,
}


def kernel_for(equation: Equation) -> Callable[[Kernel], None] | None:
    """The emitter of an equation that is a nest of loops, or ``None``."""
    if is_inline(equation) or equation.primitive.name == "reshape":
        return emit_map
    if equation.primitive.family == "reduction":
        return emit_reduction
    return KERNELS.get(equation.primitive.name)
