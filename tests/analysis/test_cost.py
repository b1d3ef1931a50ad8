"""Flops against a count of the scalar operations that NumPy really does."""

import numpy as np
import pytest

from pullback.analysis.cost import Cost, cost, equation_cost, graph_flops, is_view
from pullback.core.primitive import registry
from pullback.core.types import ArrayType, type_of
from pullback.transforms.stage import stage

RNG = np.random.default_rng(0)


class Counted:
    """A number that counts the operations done on its like."""

    operations = 0

    def __init__(self, value):
        self.value = value

    def _apply(self, other, function):
        Counted.operations += 1
        return Counted(function(self.value, getattr(other, "value", other)))

    def __add__(self, other):
        return self._apply(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._apply(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._apply(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._apply(other, lambda a, b: a / b)

    def __neg__(self):
        return self._apply(None, lambda a, b: -a)


def counted(function, *args):
    """Scalar operations of a NumPy function on arrays of counting numbers."""
    Counted.operations = 0
    function(*[np.vectorize(Counted, otypes=[object])(a) for a in args])
    return Counted.operations


def declared(function, *args):
    graph = stage(lambda *xs: [function(*xs)], [type_of(a) for a in args]).graph
    return graph_flops(graph)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, y: x + y, [(3, 1), (4,)]),
        (lambda x, y: -(x - y) * x / y, [(5,), (5,)]),
        (lambda x, y: (x[1:] * y).T.reshape(-1) + x[0, 0], [(4, 2), (3, 2)]),
    ],
)
def test_elementwise_flops_are_the_operations_done(function, shapes):
    args = [RNG.uniform(1, 2, shape) for shape in shapes]
    assert declared(function, *args) == counted(function, *args)


@pytest.mark.parametrize(
    ("function", "shapes", "n_results"),
    [
        (lambda x, y: x @ y, [(4, 5), (5, 3)], 12),
        (lambda x, y: x @ y, [(2, 4, 5), (5, 3)], 24),
        (lambda x, y: x @ y, [(5,), (5, 3)], 3),
        (lambda x: np.sum(x, axis=0), [(6, 3)], 3),
        (lambda x: np.sum(x), [(6, 3)], 1),
        (lambda x: np.prod(x, axis=1), [(6, 3)], 6),
    ],
)
def test_a_fold_of_n_counts_n_additions_where_n_minus_one_are_done(function, shapes, n_results):
    args = [RNG.uniform(1, 2, shape) for shape in shapes]
    assert declared(function, *args) == counted(function, *args) + n_results


def test_bytes_are_operands_and_results_and_views_are_free():
    graph = stage(lambda x: [x.T[1:] * 2.0], [ArrayType((3, 4), np.dtype(np.float32))]).graph
    transpose, index, multiply = map(equation_cost, graph.equations)
    assert transpose == index == Cost(0, 0)
    assert multiply.flops == 9
    assert multiply.bytes == 9 * 4 + 8 + 9 * 4
    assert cost(graph.equations) == multiply


def test_views_are_those_that_share_memory():
    views = {name for name, primitive in registry.items() if is_view(primitive)}
    assert {"transpose", "index", "reshape", "broadcast_to"} <= views
    assert not views & {"astype", "place", "gather", "add", "matmul", "sum", "concatenate"}
