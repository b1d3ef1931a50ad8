"""Programs on disk: found by their graph, so that nothing has to be emitted to find them.

An image is the code of a program and what its caller must know. Its key holds all that the
code depends on: the graph, this package and its libraries, the processor. Sources of equations do
not belong to it: what may fail is known by its number among the sources of the graph.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import platform
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from pullback.core.graph import Graph, Literal, Operand, Variable
from pullback.core.source import Source
from pullback.core.types import ArrayType

__all__ = ["Failure", "Image", "digest", "sources", "surroundings"]

PACKAGE = __file__.removesuffix(os.path.join("compiler", "runtime", "stored.py"))
PLAIN = {type(None), bool, int, float, str}  # types of values that are their own token
OUTSIDE = {"executor", "known"}  # parameters that are not part of a program
MARK = ...  # begins the token of anything else
MARSHAL_FORMAT = 2  # the last one in which equal values are always equal bytes


class Failure(NamedTuple):
    """What a status stands for: the message, whether an index was wrong, and whose source.

    The source is a number among those of the graph; ``None`` if it is in the message.
    """

    message: str
    is_index: bool
    source: int | None


class Image(NamedTuple):
    """A program that can be run."""

    code: bytes
    arena_bytes: int
    has_jobs: bool  # for several threads
    donations: list[tuple[int, int]]  # an input, and the output that takes its memory
    failures: list[Failure]

    def pack(self) -> bytes:
        return marshal.dumps((*self[:-1], [tuple(failure) for failure in self.failures]))

    @classmethod
    def unpack(cls, entry: bytes) -> Image:
        code, arena_bytes, has_jobs, donations, failures = marshal.loads(entry)
        return cls(code, arena_bytes, has_jobs, donations, [Failure(*f) for f in failures])


def sources(graph: Graph) -> list[Source | None]:
    """The sources of all equations, in order, those inside of an equation after its own."""
    found: list[Source | None] = []
    for equation in graph.equations:
        found.append(equation.source)
        for inner in _graphs(tuple(equation.params.values())):
            found += sources(inner)
    return found


def _graphs(value: Any) -> Iterator[Graph]:
    if isinstance(value, Graph):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _graphs(part)


# -- keys -----------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def surroundings() -> str:
    """What all code depends on: the files of this package, NumPy and Python."""
    stamps = sorted(_stamps(PACKAGE))
    return repr((stamps, np.__version__, platform.python_version()))


def _stamps(folder: str, below: str = "") -> Iterator[tuple[str, int, int]]:
    """Name, size and time of each Python file in a folder and those below."""
    for entry in os.scandir(folder):
        name = below + entry.name
        if name.endswith(".py"):
            state = entry.stat()
            yield name, state.st_size, state.st_mtime_ns
        elif entry.is_dir():
            yield from _stamps(entry.path, name + os.sep)


class ForeignError(TypeError):
    """A parameter that no key can be made of."""


def digest(graph: Graph) -> str | None:
    """Equal for equal graphs, in any process; ``None`` if one holds foreign objects."""
    try:
        text = marshal.dumps(token(graph), MARSHAL_FORMAT)
    except ForeignError:
        return None
    return hashlib.sha256(text).hexdigest()


def token(value: Any) -> Any:
    """What distinguishes a value, for ``marshal``; marked where it is not the value itself."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple or kind is list:
        return kind(map(token, value))
    if value is ...:
        return (MARK,)
    if isinstance(value, np.generic | np.ndarray):
        if value.dtype.hasobject:
            raise ForeignError
        return MARK, "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.dtype):
        return MARK, "dtype", value.str
    if isinstance(value, ArrayType):
        return MARK, *type_token(value)
    if isinstance(value, type) and issubclass(value, np.generic):
        return MARK, "class", value.__name__
    if isinstance(value, Graph):
        return MARK, _graph_token(value)
    raise ForeignError


def type_token(type: ArrayType) -> Any:
    return type.dtype.str, type.shape, type.weak


def _graph_token(graph: Graph) -> Any:
    """Variables are numbered in the order in which they are bound, types as they come up."""
    numbers: dict[Operand, int] = {}
    types: dict[ArrayType, int] = {}

    def define(v: Variable) -> int:
        numbers[v] = len(numbers)
        return types.setdefault(v.type, len(types))

    def operand(v: Operand) -> Any:
        return (token(v.value), type_token(v.type)) if isinstance(v, Literal) else numbers[v]

    inputs = tuple(map(define, graph.inputs))
    equations = tuple(
        [
            (
                equation.primitive.name,
                params_token(equation.params) if equation.params else (),
                tuple(map(operand, equation.inputs)),
                tuple(map(define, equation.outputs)),
            )
            for equation in graph.equations
        ]
    )
    return inputs, equations, tuple(map(operand, graph.outputs)), tuple(map(type_token, types))


def params_token(params: dict[str, Any]) -> Any:
    return tuple([(k, token(v)) for k, v in sorted(params.items()) if k not in OUTSIDE])
