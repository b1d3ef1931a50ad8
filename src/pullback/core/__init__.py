"""What a program is: types, primitives, graphs, traced arrays."""

from pullback.core import operators as operators
