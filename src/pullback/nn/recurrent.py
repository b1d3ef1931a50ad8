"""Recurrent cells, and layers that run them over sequences ``(batch, T, features)``.

Names, shapes and formulas are PyTorch's; sequences lie as with its ``batch_first=True``. A layer is
called on sequences and returns sequences; :meth:`RNN.run` takes and returns the state, too.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.control.scan import scan
from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.functional import sigmoid

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]


@dataclasses.dataclass
class _Cell:
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    n_gates: ClassVar[int]

    @classmethod
    def init(cls, rng: Any, features: int, hidden: int, *, dtype: DTypeLike = np.float64) -> Self:
        """Weights and biases uniform between ``-1 / sqrt(hidden)`` and ``1 / sqrt(hidden)``.

        Raises:
            ArgumentError: if a size is less than 1.
        """
        if min(features, hidden) < 1:
            raise ArgumentError(
                f"{cls.__name__}: {features} features, {hidden} hidden units",
                fix="give whole numbers from 1 on",
            )
        bound, rows = hidden**-0.5, cls.n_gates * hidden
        shapes = ((rows, features), (rows, hidden), (rows,), (rows,))
        return cls(*(rng.uniform(-bound, bound, size=shape).astype(dtype) for shape in shapes))

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return int(np.shape(self.weight_hh)[-1])

    def __call__(self, x: Any, state: Any = None) -> Any:
        """The next state; a state of zeros comes before the first.

        Args:
            x: ``(batch, features)``.
            state: what the cell returned before.
        """
        u = self.inputs(x)
        return self.step(u, self.zeros(u) if state is None else state)

    def inputs(self, x: Any) -> Any:
        """What the input ``(..., features)`` adds to all gates: ``(..., gates * hidden)``."""
        features = np.shape(self.weight_ih)[-1]
        if np.ndim(x) < 2 or np.shape(x)[-1] != features:
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {np.shape(x)}, its last axis should "
                f"be {features}",
                where=str(here()),
                fix="put examples first and features last: (batch, features) for a cell, "
                "(batch, T, features) for a layer",
            )
        return x @ np.swapaxes(self.weight_ih, -1, -2) + self.bias_ih

    def zeros(self, u: Any) -> Any:
        """The state before the first input, from which ``u`` was made."""
        shape = (np.shape(u)[-2], self.hidden)
        return np.zeros(shape, np.result_type(u, self.weight_hh))

    def step(self, u: Any, state: Any) -> Any:
        """The next state, from what the input adds to the gates."""
        raise NotImplementedError

    def output(self, state: Any) -> Any:
        """What others see of a state."""
        return state

    def _recurrent(self, h: Any) -> Any:
        return h @ np.swapaxes(self.weight_hh, -1, -2) + self.bias_hh

    def _parts(self, gates: Any) -> list[Any]:
        n = self.hidden
        return [gates[..., i * n : (i + 1) * n] for i in range(self.n_gates)]


@dataclasses.dataclass
class RNNCell(_Cell):
    """``h' = tanh(weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)``.

    Args:
        weight_ih: ``(hidden, features)``.
        weight_hh: ``(hidden, hidden)``.
        bias_ih, bias_hh: ``(hidden,)``.

    Called on ``(batch, features)`` and a state ``(batch, hidden)``, returns the next state.

    Source: Elman (1990), "Finding Structure in Time", doi:10.1207/s15516709cog1402_1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> cell = nn.RNNCell(np.eye(2), np.eye(2), np.zeros(2), np.zeros(2))
    >>> cell(np.array([[0.0, 1.0]]), np.array([[1.0, -1.0]]))
    array([[0.76159416, 0.        ]])
    """

    n_gates: ClassVar[int] = 1

    def step(self, u: Any, state: Any) -> Any:
        """The next state, from what the input adds to the gates."""
        return np.tanh(u + self._recurrent(state))


@dataclasses.dataclass
class GRUCell(_Cell):
    """Gated recurrent unit: a gate ``z`` mixes the old state with a new one.

    ``r, z = sigmoid(...)`` of the first two thirds of the rows, ``n = tanh(input + r *
    recurrent)`` of the last, ``h' = (1 - z) * n + z * h``.

    Args:
        weight_ih: ``(3 * hidden, features)``.
        weight_hh: ``(3 * hidden, hidden)``.
        bias_ih, bias_hh: ``(3 * hidden,)``.

    Called on ``(batch, features)`` and a state ``(batch, hidden)``, returns the next state.

    Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder",
    eq. 5 to 8, with the reset gate after the product, as PyTorch has it.

    >>> import numpy as np
    >>> from pullback import nn
    >>> cell = nn.GRUCell.init(np.random.default_rng(0), 3, 2)
    >>> cell(np.ones((5, 3))).shape
    (5, 2)
    """

    n_gates: ClassVar[int] = 3

    def step(self, u: Any, state: Any) -> Any:
        """The next state, from what the input adds to the gates."""
        u_r, u_z, u_n = self._parts(u)
        v_r, v_z, v_n = self._parts(self._recurrent(state))
        z = sigmoid(u_z + v_z)
        n = np.tanh(u_n + sigmoid(u_r + v_r) * v_n)
        return (1 - z) * n + z * state


@dataclasses.dataclass
class LSTMCell(_Cell):
    """Long short-term memory: ``c' = f * c + i * g``, ``h' = o * tanh(c')``.

    ``i, f, o = sigmoid(...)`` and ``g = tanh(...)`` of ``weight_ih @ x + bias_ih + weight_hh @ h +
    bias_hh``, whose rows are those of ``i, f, g, o``.

    Args:
        weight_ih: ``(4 * hidden, features)``.
        weight_hh: ``(4 * hidden, hidden)``.
        bias_ih, bias_hh: ``(4 * hidden,)``.

    Called on ``(batch, features)`` and a state ``(h, c)``, each ``(batch, hidden)``, returns the
    next state.

    Source: Hochreiter & Schmidhuber (1997), "Long Short-Term Memory"; with the forget gate of Gers
    et al. (2000), doi:10.1162/089976600300015015.

    >>> import numpy as np
    >>> from pullback import nn
    >>> cell = nn.LSTMCell.init(np.random.default_rng(0), 3, 2)
    >>> h, c = cell(np.ones((5, 3)))
    >>> h.shape, c.shape
    ((5, 2), (5, 2))
    """

    n_gates: ClassVar[int] = 4

    def zeros(self, u: Any) -> Any:
        """The state before the first input, from which ``u`` was made."""
        return super().zeros(u), super().zeros(u)

    def step(self, u: Any, state: Any) -> Any:
        """The next state, from what the input adds to the gates."""
        h, c = state
        i, f, candidate, o = self._parts(u + self._recurrent(h))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        return sigmoid(o) * np.tanh(c), c

    def output(self, state: Any) -> Any:
        """What others see of a state: ``h``."""
        return state[0]


@dataclasses.dataclass
class _Recurrent:
    cells: tuple[tuple[Any, ...], ...]
    cell: ClassVar[type[_Cell]]

    @classmethod
    def init(
        cls,
        rng: Any,
        features: int,
        hidden: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Cells with random weights; ``bidirectional`` ones also read from the end.

        Raises:
            ArgumentError: if a size is less than 1.
        """
        if num_layers < 1:
            raise ArgumentError(f"{cls.__name__}: {num_layers} layers", fix="ask for 1 or more")
        n_directions = 2 if bidirectional else 1
        widths = [features, *[n_directions * hidden] * (num_layers - 1)]
        return cls(
            tuple(
                tuple(cls.cell.init(rng, width, hidden, dtype=dtype) for _ in range(n_directions))
                for width in widths
            )
        )

    def __call__(self, x: Any) -> Any:
        return self.run(x)[0]

    def run(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """Read sequences from a state on.

        Args:
            x: ``(batch, T, features)``.
            state: what an earlier run returned; zeros unless given. It is a tuple, an entry a
                layer, of tuples, an entry a direction, of states of cells.

        Returns:
            The outputs of the last layer ``(batch, T, directions * hidden)``, and the state after
            the last step.

        Raises:
            ShapeError: if ``x`` does not have the three axes.
        """
        if np.ndim(x) != 3:
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {np.shape(x)}",
                where=str(here()),
                fix="give sequences as (batch, T, features); one alone as x[None]",
            )
        rows, states = np.swapaxes(x, 0, 1), []
        for i, directions in enumerate(self.cells):
            runs = [
                _run(cell, rows, None if state is None else state[i][j], reverse=j == 1)
                for j, cell in enumerate(directions)
            ]
            states.append(tuple(last for _, last in runs))
            outputs = [y for y, _ in runs]
            rows = outputs[0] if len(runs) == 1 else np.concatenate(outputs, axis=-1)
        return np.swapaxes(rows, 0, 1), tuple(states)


def _run(cell: _Cell, x: Any, state: Any, *, reverse: bool) -> tuple[Any, Any]:
    """Outputs ``(T, batch, hidden)`` and the last state; all inputs go into one product."""
    u = cell.inputs(x)

    def step(state: Any, u: Any) -> tuple[Any, Any]:
        state = cell.step(u, state)
        return state, cell.output(state)

    state, y = scan(step, cell.zeros(u) if state is None else state, u, reverse=reverse)
    return y, state


@dataclasses.dataclass
class RNN(_Recurrent):
    """Layers of :class:`RNNCell` over sequences.

    Args:
        cells: a tuple for each layer, of one cell for each direction.

    Called on ``(batch, T, features)``, returns ``(batch, T, directions * hidden)``; a reversed
    direction has read what follows.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.RNN.init(np.random.default_rng(0), 3, 4, num_layers=2)
    >>> x = np.random.default_rng(1).normal(size=(5, 6, 3))
    >>> y, state = layer.run(x[:, :4])
    >>> bool(np.all(layer.run(x[:, 4:], state)[0] == layer(x)[:, 4:]))
    True
    """

    cell: ClassVar[type[_Cell]] = RNNCell


@dataclasses.dataclass
class GRU(_Recurrent):
    """Layers of :class:`GRUCell` over sequences; arguments and shapes as :class:`RNN`.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.GRU.init(np.random.default_rng(0), 3, 4, bidirectional=True)(np.ones((5, 6, 3))).shape
    (5, 6, 8)
    """

    cell: ClassVar[type[_Cell]] = GRUCell


@dataclasses.dataclass
class LSTM(_Recurrent):
    """Layers of :class:`LSTMCell` over sequences; arguments and shapes as :class:`RNN`.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.LSTM.init(np.random.default_rng(0), 3, 4)
    >>> y, (((h, c),),) = layer.run(np.ones((5, 6, 3)))
    >>> y.shape, bool(np.all(y[:, -1] == h)), c.shape
    ((5, 6, 4), True, (5, 4))
    """

    cell: ClassVar[type[_Cell]] = LSTMCell


for _layer in (RNNCell, GRUCell, LSTMCell, RNN, GRU, LSTM):
    tree.dataclass(_layer)
