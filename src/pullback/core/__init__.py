"""What a program is: types, primitives, graphs, traced arrays."""
