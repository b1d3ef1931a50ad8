"""Containers of arrays: order, structure, paths, ravel, registered classes."""

import dataclasses
import subprocess
import sys
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pullback as pb
from pullback import tree
from pullback.errors import ArgumentError

Point = namedtuple("Point", "x y")

containers = st.recursive(
    st.floats(allow_nan=False) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=8,
)


@dataclasses.dataclass
class Affine:
    weight: Any
    bias: Any
    name: str = "affine"


tree.dataclass(Affine, static=("name",))


@given(containers)
def test_unflatten_undoes_flatten(container: Any) -> None:
    leaves, structure = tree.flatten(container)
    assert tree.unflatten(structure, leaves) == container
    assert len(tree.paths(container)) == len(leaves)


@given(containers)
def test_paths_lead_to_the_leaves(container: Any) -> None:
    paths = tree.paths(container, "root")
    assert [eval(path, {"root": container}) for path in paths] == tree.leaves(container)


def test_dictionaries_flatten_in_key_order_and_none_is_empty() -> None:
    assert tree.leaves({"b": 1.0, "a": [2.0, None], "c": Point(3.0, 4.0)}) == [2.0, 1.0, 3.0, 4.0]


def test_a_dataclass_is_a_container_of_its_fields() -> None:
    layer = Affine(np.ones((2, 3)), np.zeros(3))
    doubled = tree.map(lambda a: 2 * a, layer)
    assert isinstance(doubled, Affine)
    assert doubled.name == "affine"
    np.testing.assert_array_equal(doubled.weight, np.full((2, 3), 2.0))
    assert tree.paths({"layers": [layer]}, "params") == [
        "params['layers'][0].weight",
        "params['layers'][0].bias",
    ]


def test_static_fields_are_part_of_the_structure() -> None:
    with pytest.raises(ArgumentError, match="different structures"):
        tree.map(np.add, Affine(1.0, 2.0, "one"), Affine(1.0, 2.0, "two"))


def test_map_refuses_other_structures_but_not_the_functions_own_errors() -> None:
    with pytest.raises(ArgumentError, match="different structures"):
        tree.map(np.add, {"w": 1.0}, {"v": 1.0})

    def fail(x: float) -> float:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        tree.map(fail, [1.0])


def test_a_class_that_is_no_dataclass_is_refused() -> None:
    with pytest.raises(ArgumentError, match="not a dataclass"):
        tree.dataclass(int)


def test_register_takes_any_class() -> None:
    class Pair:
        def __init__(self, first: Any, second: Any) -> None:
            self.first, self.second = first, second

    tree.register(
        Pair, lambda p: ((p.first, p.second), None), lambda static, children: Pair(*children)
    )
    assert tree.leaves(tree.map(lambda x: x + 1, Pair(1.0, 2.0))) == [2.0, 3.0]


def test_ravel_joins_leaves_and_gives_shapes_and_dtypes_back() -> None:
    params = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7.0)}
    vector, unravel = tree.ravel(params)
    assert vector.dtype == np.float64
    np.testing.assert_array_equal(vector, [7, 0, 1, 2, 3, 4, 5])
    back = unravel(vector + 1)
    assert back["w"].dtype == np.float32
    np.testing.assert_array_equal(back["w"], params["w"] + 1)
    assert back["b"].shape == ()


def test_ravel_of_nothing_is_empty() -> None:
    vector, unravel = tree.ravel({"a": None})
    assert vector.shape == (0,)
    assert unravel(vector) == {"a": None}


def test_ravel_is_differentiable_both_ways() -> None:
    params = {"w": np.array([[1.0, 2.0]]), "b": np.array(3.0)}
    _, unravel = tree.ravel(params)

    def through(vector: Any) -> Any:
        p = unravel(vector)
        joined, _ = tree.ravel(p)
        return np.sum(joined * joined) + p["b"]

    # d/dv (v . v + v_0) at v = (3, 1, 2)
    np.testing.assert_allclose(pb.grad(through)(np.array([3.0, 1.0, 2.0])), [7.0, 2.0, 4.0])


@pytest.mark.parametrize(
    "example",
    [[1.0, 2.0], (1.0, {"b": [2.0], "a": (3.0, 4.0)}), ({}, [5.0], ()), ((1.0,), {"k": 2.0})],
    ids=str,
)
def test_a_gatherer_finds_the_same_leaves(example):
    quick = tree.gatherer(example)
    assert quick(example) == tree.leaves(example)
    for other in ([example], {"x": example}, [], None):
        with pytest.raises(LookupError):
            quick(other)


@given(containers)
def test_a_builder_unflattens(example):
    leaves, structure = tree.flatten(example)
    built = tree.builder(structure)(leaves)
    assert built == example
    assert type(built) is type(example)
    assert built is not leaves


def test_a_gatherer_takes_builtin_containers_only():
    assert tree.gatherer([1.0, None]) is None
    assert tree.gatherer([Point(1.0, 2.0)]) is None


def test_classes_registered_before_the_first_container() -> None:
    """The library of containers is imported late: what was registered until then is not lost."""
    code = """
import sys
import threading
import pullback as pb
assert "optree" not in sys.modules

class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b

pb.tree.register(Pair, lambda p: ((p.a, p.b), None), lambda _, parts: Pair(*parts))
found = []
threads = [threading.Thread(target=lambda: found.append(pb.tree.leaves(Pair(1.0, [2.0]))))
           for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
assert found == [[1.0, 2.0]] * 8
"""
    subprocess.run([sys.executable, "-c", code], check=True)
