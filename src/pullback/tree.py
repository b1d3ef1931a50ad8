"""Nested containers of arrays (pytrees): dict, list, tuple, named tuple, dataclass, ``None``.

A thin layer over ``optree``: dictionaries are flattened in sorted key order, ``None`` is an
empty container. Register your own containers with :func:`register` or :func:`dataclass`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pullback.errors import ArgumentError

if TYPE_CHECKING:
    import optree

__all__ = [
    "accessors",
    "builder",
    "dataclass",
    "flatten",
    "gatherer",
    "is_container",
    "is_registered",
    "joined",
    "leaf",
    "leaves",
    "leaves_until",
    "map",
    "map_prefix",
    "map_until",
    "paths",
    "ravel",
    "register",
    "structure_paths",
    "unflatten",
]

NAMESPACE = "pullback"
T = TypeVar("T")


class _Optree:
    """The package, imported when a container is first taken apart.

    That takes a quarter of the time of ``import numpy``, half of it for ``typing_extensions``.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.waiting: list[tuple[Any, ...]] | None = []  # classes that are registered before

    def __getattr__(self, name: str) -> Any:
        import optree

        with self.lock:
            while self.waiting:
                _register(*self.waiting.pop(0))
            self.waiting = None
        value = getattr(optree, name)
        setattr(self, name, value)
        return value

    def register(self, *arguments: Any) -> None:
        """Make a class a container, now or when the first one is taken apart."""
        with self.lock:
            if self.waiting is not None:
                self.waiting.append(arguments)
                return
        _register(*arguments)


def _register(cls: Any, flatten: Any, unflatten: Any) -> None:
    import optree

    # optree is annotated for collections only, but takes any class.
    optree.register_pytree_node(cls, flatten, unflatten, namespace=NAMESPACE)


_packages = _Optree()
if TYPE_CHECKING:
    TreeDef = optree.PyTreeSpec
else:
    optree = _packages


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Return the leaves of ``tree`` in a fixed order, and its structure.

    >>> from pullback import tree
    >>> leaves, structure = tree.flatten({"b": 2.0, "a": (1.0, None)})
    >>> leaves
    [1.0, 2.0]
    >>> tree.unflatten(structure, [10.0, 20.0])
    {'b': 20.0, 'a': (10.0, None)}
    """
    return optree.tree_flatten(tree, namespace=NAMESPACE)


@lru_cache(maxsize=1)
def leaf() -> TreeDef:
    """Return the structure of one leaf.

    >>> from pullback import tree
    >>> tree.leaf() == tree.flatten(1.0)[1]
    True
    """
    return flatten(0.0)[1]


def unflatten(structure: TreeDef, leaves: Sequence[Any]) -> Any:
    """Rebuild a container of the given structure around ``leaves``."""
    return optree.tree_unflatten(structure, leaves)


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of ``tree`` in a fixed order."""
    return optree.tree_leaves(tree, namespace=NAMESPACE)


def leaves_until(tree: Any, kind: type) -> list[Any]:
    """Leaves, where objects of type ``kind`` count as leaves whatever they contain."""
    return optree.tree_leaves(tree, is_leaf=lambda x: isinstance(x, kind), namespace=NAMESPACE)


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply ``function`` leaf by leaf; further trees must share the structure of the first.

    >>> from pullback import tree
    >>> tree.map(lambda p, s: p - 0.1 * s, {"w": 1.0}, {"w": 5.0})
    {'w': 0.5}
    """
    try:
        return optree.tree_map(function, tree, *rest, namespace=NAMESPACE)
    except ValueError as error:
        if any(
            optree.tree_structure(r, namespace=NAMESPACE)
            != optree.tree_structure(tree, namespace=NAMESPACE)
            for r in rest
        ):
            raise ArgumentError(
                "tree.map: the containers have different structures",
                details=[str(error)],
                fix="pass containers with the same keys and lengths",
            ) from error
        raise


def map_until(function: Callable[..., Any], kind: type, tree: Any, *rest: Any) -> Any:
    """Like :func:`map`, where objects of type ``kind`` in ``tree`` count as leaves.

    >>> from pullback import tree
    >>> tree.map_until(lambda pair, x: sum(pair) + x, tuple, {"a": (1, 2)}, {"a": 10})
    {'a': 13}
    """
    return optree.tree_map(
        function, tree, *rest, is_leaf=lambda x: isinstance(x, kind), namespace=NAMESPACE
    )


def map_prefix(function: Callable[..., Any], prefix: Any, tree: Any) -> None:
    """Call ``function(part, below)`` for the integers and ``None`` that ``prefix`` ends in.

    ``below`` is the container, or leaf, that stands there in ``tree``.

    >>> from pullback import tree
    >>> tree.map_prefix(print, (0, None), ([1.0, 2.0], 3.0))
    0 [1.0, 2.0]
    None 3.0
    """
    optree.tree_map(
        function,
        prefix,
        tree,
        is_leaf=lambda x: x is None or isinstance(x, int),
        namespace=NAMESPACE,
        none_is_leaf=True,
    )


def paths(tree: Any, root: str = "") -> list[str]:
    """Return one readable path per leaf, such as ``params.layers[0].weight``.

    >>> from pullback import tree
    >>> tree.paths({"layers": [(1.0, 2.0)]}, root="params")
    ["params['layers'][0][0]", "params['layers'][0][1]"]
    """
    accessors = optree.tree_accessors(tree, namespace=NAMESPACE)
    return [accessor.codify(root) for accessor in accessors]


def accessors(tree: Any) -> list[Any]:
    """Return one function per leaf that reads it from a container like ``tree``.

    >>> from pullback import tree
    >>> [read({"a": 5.0}) for read in tree.accessors({"a": 1.0})]
    [5.0]
    """
    return optree.tree_accessors(tree, namespace=NAMESPACE)


def is_container(value: Any) -> bool:
    """Whether ``value`` is a container, and not a leaf."""
    return value is not None and not optree.tree_is_leaf(value, namespace=NAMESPACE)


def is_registered(cls: type) -> bool:
    """Whether objects of ``cls`` are containers by :func:`register` or :func:`dataclass`."""
    return optree.register_pytree_node.get(cls, namespace=NAMESPACE) is not None


def gatherer(example: Any) -> Callable[[Any], list[Any]] | None:
    """Return ``leaves`` for lists, tuples and dictionaries nested as in ``example``, made quick.

    For other containers it raises ``LookupError``; whatever stands in place of a leaf is taken for
    one. ``None`` if ``example`` holds registered containers.

    >>> from pullback import tree
    >>> quick = tree.gatherer({"b": (1.0, 2.0), "a": 3.0})
    >>> quick({"a": 6.0, "b": (4.0, 5.0)})
    [6.0, 4.0, 5.0]
    """
    walk = _walker((example,))
    assert walk is not None

    def quick(tree: Any) -> list[Any]:
        found: list[Any] = []
        walk((tree,), found)
        return found

    is_right = [id(leaf) for leaf in quick(example)] == [id(leaf) for leaf in leaves(example)]
    return quick if is_right else None


def _walker(example: Any) -> Callable[[Any, list[Any]], None] | None:
    """A function that appends leaves to a list; ``None`` for a leaf."""
    kind = type(example)
    if kind not in (list, tuple, dict):
        return None
    keys = sorted(example, key=str) if kind is dict else range(len(example))
    parts = [(key, _walker(example[key])) for key in keys]
    holds_leaves = kind is not dict and all(part is None for _, part in parts)

    def walk(tree: Any, found: list[Any]) -> None:
        if type(tree) is not kind or len(tree) != len(parts):
            raise LookupError
        if holds_leaves:
            found += tree
            return
        for key, part in parts:
            if part is None:
                found.append(tree[key])
            else:
                part(tree[key], found)

    return walk


def builder(structure: TreeDef) -> Callable[[list[Any]], Any]:
    """Return :func:`unflatten` for one structure, made quick for a leaf and for a row of leaves.

    >>> from pullback import tree
    >>> build = tree.builder(tree.flatten((1.0, 2.0))[1])
    >>> build([3.0, 4.0])
    (3.0, 4.0)
    """
    if structure.is_leaf():
        return itemgetter(0)
    if structure.is_one_level() and structure.type in (list, tuple):
        kind: Callable[[list[Any]], Any] = structure.type
        return kind
    return partial(unflatten, structure)


def structure_paths(structure: TreeDef) -> list[str]:
    """Return the path of every leaf of a structure.

    >>> from pullback import tree
    >>> tree.structure_paths(tree.flatten({"b": (1.0, 2.0), "a": 3.0})[1])
    ["['a']", "['b'][0]", "['b'][1]"]
    """
    return [accessor.codify("") for accessor in structure.accessors()]


def joined(tree: Any) -> Any:
    """Return all leaves, which may be traced, as one vector.

    >>> from pullback import tree
    >>> tree.joined({"a": 1.0, "b": [2.0, 3.0]})
    array([1., 2., 3.])
    """
    parts = [np.reshape(leaf, -1) for leaf in leaves(tree)]
    return np.concatenate(parts) if parts else np.zeros(0)


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Join all leaves into one vector; return it with the function that undoes it.

    Leaves may be traced. The vector has shape ``(n,)`` and the promoted dtype of the leaves;
    the inverse gives each leaf its own shape and dtype back.

    >>> from pullback import tree
    >>> import numpy as np
    >>> vector, unravel = tree.ravel({"w": np.ones((2, 2)), "b": np.zeros(1)})
    >>> vector
    array([0., 1., 1., 1., 1.])
    >>> unravel(vector)["w"].shape
    (2, 2)
    """
    parts, structure = flatten(tree)
    shapes = [np.shape(part) for part in parts]
    dtypes = [part.dtype if hasattr(part, "dtype") else np.asarray(part).dtype for part in parts]
    sizes = [int(np.prod(shape)) for shape in shapes]
    vector = np.concatenate([np.reshape(part, (-1,)) for part in parts]) if parts else np.zeros(0)

    def unravel(vector: Any) -> Any:
        pieces, start = [], 0
        for shape, dtype, size in zip(shapes, dtypes, sizes, strict=True):
            pieces.append(np.reshape(vector[start : start + size], shape).astype(dtype))
            start += size
        return unflatten(structure, pieces)

    return vector, unravel


def register(
    cls: type[T],
    flatten: Callable[[T], tuple[Sequence[Any], Any]],
    unflatten: Callable[[Any, Sequence[Any]], T],
) -> type[T]:
    """Make ``cls`` a container.

    ``flatten(obj)`` gives ``(children, static)``, and ``unflatten(static, children)`` undoes it.
    """
    _packages.register(cls, flatten, unflatten)
    return cls


def dataclass(cls: type[T], static: Sequence[str] = ()) -> type[T]:
    """Register a dataclass as a container of its fields; ``static`` fields are not leaves.

    >>> import dataclasses
    >>> from pullback import tree
    >>> @dataclasses.dataclass
    ... class Line:
    ...     slope: float
    ...     offset: float
    >>> _ = tree.dataclass(Line)
    >>> tree.leaves(Line(2.0, 1.0))
    [2.0, 1.0]
    """
    if not dataclasses.is_dataclass(cls):
        raise ArgumentError(
            f"tree.dataclass: {cls.__name__} is not a dataclass",
            fix="put @dataclasses.dataclass above the class",
        )
    names = [field.name for field in dataclasses.fields(cls)]
    dynamic = tuple(name for name in names if name not in static)
    fixed = tuple(name for name in names if name in static)

    def flatten_fields(obj: Any) -> tuple[Sequence[Any], Any, tuple[str, ...]]:
        children = [getattr(obj, name) for name in dynamic]
        return children, tuple(getattr(obj, name) for name in fixed), dynamic

    def unflatten_fields(static_values: Any, children: Sequence[Any]) -> Any:
        obj = object.__new__(cls)
        for name, value in zip(dynamic + fixed, (*children, *static_values), strict=True):
            object.__setattr__(obj, name, value)
        return obj

    optree.register_pytree_node(
        cls,  # type: ignore[arg-type]
        flatten_fields,
        unflatten_fields,  # type: ignore[arg-type]
        path_entry_type=optree.GetAttrEntry,
        namespace=NAMESPACE,
    )
    return cls
