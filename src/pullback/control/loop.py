"""Long loops backward in little memory: some states are kept, the others computed again.

:func:`checkpoint_loop` is for a step that is plain Python. Known limit: ``scan`` keeps what
all its steps leave for the backward pass; a body under ``checkpoint`` leaves its carry only.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pullback import tree
from pullback.analysis.sizes import parse_bytes, show_bytes
from pullback.control.revolve import (
    MOST_MIXED,
    Action,
    advances,
    kept_apart,
    mixed_forwards,
    mixed_schedule,
    revolve,
    revolve_between,
)
from pullback.control.rules import FlatRules, custom_primitive
from pullback.core.array import Array, as_array
from pullback.core.source import here
from pullback.core.types import is_differentiable, type_of
from pullback.errors import ArgumentError, BudgetError, MutationError, ShapeError, TracedValueError
from pullback.transforms.derivatives import Reverse

__all__ = ["Machine", "checkpoint_loop"]

State = list[Any]
Step = Callable[..., State]  # of the number of the step, and the leaves of state and arguments
FEW: Final = 8  # states that an unbounded loop starts with room for


class Kept:
    """States by step, in memory."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {}

    def put(self, step: int, state: State) -> None:
        self.states[step] = state

    def get(self, step: int) -> State:
        return self.states[step]

    def drop(self, step: int) -> None:
        del self.states[step]


class Spilled(Kept):
    """States by step, some of them in files of a folder of their own."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="states-", dir=folder))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.files: dict[int, int] = {}

    def spill(self, step: int, state: State) -> None:
        """Write a state to the folder."""
        for k, x in enumerate(state):
            np.save(self.folder / f"{step}-{k}.npy", np.asarray(x), allow_pickle=False)
        self.files[step] = len(state)

    def get(self, step: int) -> State:
        if step in self.states or step not in self.files:
            return super().get(step)
        n = self.files[step]
        return [np.load(self.folder / f"{step}-{k}.npy", allow_pickle=False) for k in range(n)]


class Machine:
    """Runs the actions of a schedule: forward to the end of the loop, then backward.

    ``step(i, state, args)`` gives the next state; ``args`` are the same for all steps.
    """

    def __init__(
        self, step: Step, state: State, args: State, actions: Iterator[Action], kept: Kept
    ) -> None:
        self.step = step
        self.args = args
        self.actions = actions
        self.kept = kept
        self.state = state
        self.tapes: dict[int, tuple[Reverse, State]] = {}
        self.expected: tuple[int, State] | None = None  # the state that a pulled step began with

    def forward(self, last: int) -> State:
        """The state after step ``last``, which is the first to be pulled."""
        for action in self.actions:
            self.act(action)
            if action.kind == "tape" and action.step == last:
                break
        return self.state

    def act(self, action: Action) -> None:
        if action.kind == "advance":
            for i in range(action.step, action.stop):
                self.state = self.step(i, self.state, self.args)
        elif action.kind == "keep":
            self.kept.put(action.step, self.state)
        elif action.kind == "restore":
            self.state = self.kept.get(action.step)
        elif action.kind == "drop":
            self.kept.drop(action.step)
        elif action.kind == "tape":
            self.tape(action.step)

    def tape(self, i: int) -> None:
        """Run a step with its tape."""
        before = self.state
        leaves = [x for x in (*before, *self.args) if is_differentiable(type_of(x).dtype)]

        def taped(*traced: Any) -> State:
            given = iter(traced)
            full = [
                next(given) if is_differentiable(type_of(x).dtype) else x
                for x in (*before, *self.args)
            ]
            return self.step(i, full[: len(before)], full[len(before) :])

        run = Reverse(taped, leaves, tree.flatten(tuple(leaves))[1])
        self.state = list(run.outputs)
        if self.expected is not None and self.expected[0] == i + 1:
            require_same(i, self.state, self.expected[1])
        self.tapes[i] = run, before

    def backward(self, cts: State) -> tuple[State, State]:
        """Cotangents of the first state and of the arguments, from those of the last state."""
        totals: State = [None] * len(self.args)
        for action in self.actions:
            if action.kind != "pull":
                self.act(action)
                continue
            run, before = self.tapes.pop(action.step)
            found = iter(run.sweep(cts, is_last=True))
            floats = [is_differentiable(type_of(x).dtype) for x in (*before, *self.args)]
            parts = [next(found) if flag else None for flag in floats]
            cts = parts[: len(before)]
            for k, part in enumerate(parts[len(before) :]):
                if part is not None:
                    totals[k] = part if totals[k] is None else totals[k] + part
            self.expected = action.step, before
        return cts, totals


def require_same(i: int, now: State, before: State) -> None:
    """Refuse a step that does not compute the same when it runs again."""
    for a, b in zip(now, before, strict=True):
        if type(a) is np.ndarray and type(b) is np.ndarray and a.tobytes() != b.tobytes():
            raise MutationError(
                f"checkpoint_loop: step {i} gives another state when it runs again",
                where=str(here()),
                fix="let it depend on its arguments alone: put a pullback.random.Generator into "
                "the state instead of drawing from NumPy's, and write to no array from outside",
            )


def checkpoint_loop(
    step: Callable[..., Any],
    state: Any,
    length: int | None = None,
    *args: Any,
    condition: Callable[..., Any] | None = None,
    snapshots: int | None = None,
    memory: int | str | None = None,
    spill: str | Path | None = None,
) -> Any:
    """``for i in range(length): state = step(state, i, *args)``, with a gradient in little memory.

    ``step`` is plain Python: it may branch on values and call what has a rule. Reverse mode keeps
    some states and runs the steps between them again.

    Args:
        step: returns the next state, with the structure, shapes and dtypes of ``state``. Traced
            values that it reads must be among ``args``.
        state: first state, a container of arrays; a :class:`pullback.random.Generator` in it draws
            the same numbers whenever a step runs again.
        length: number of steps, if it is known.
        args: containers of arrays that are the same for all steps, such as parameters.
        condition: instead of ``length``: the loop goes on while ``condition(state, *args)`` holds.
        snapshots: how many states to keep at most, the first one included; by default so many that
            no step runs more than three times (about ``sqrt(2 length)``).
        memory: instead of ``snapshots``, bytes for kept states and tapes, as a number or ``"50
            MB"``. Where tapes of steps are small, some of them are kept instead of states.
        spill: a folder for states beyond ``snapshots``, which are then kept on disk at regular
            distances; files are removed when the gradient is done.

    Returns:
        The last state. With ``c`` snapshots for ``l`` steps, ``r l - binomial(c + r, c + 1)`` steps
        run again, ``r`` the least number with ``binomial(c + r, c) >= l``: the fewest that can be
        (Griewank & Walther 2000, *Algorithm 799: Revolve*).

    Raises:
        ArgumentError: for both or none of ``length`` and ``condition``, or a number below 1.
        BudgetError: if ``memory`` does not hold one state and the tape of one step.
        ShapeError: if ``step`` changes the type of the state.
        TracedValueError: if ``step`` reads a traced value from outside.
        MutationError: if a step gives another state when it runs again.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def orbit(x):
    ...     return pb.checkpoint_loop(lambda x, i: x - 0.1 * np.sin(x), x, 1000, snapshots=10)
    >>> float(pb.grad(orbit)(1.0)) > 0
    True
    """
    loop = Loop(step, state, length, args, condition, snapshots, memory, spill)
    rules = FlatRules("checkpoint_loop", loop.run, forward=loop.forward, backward=loop.backward)
    outputs = custom_primitive(*loop.leaves, rules=rules)
    return tree.unflatten(loop.structure, outputs)


class Loop:
    """One call of :func:`checkpoint_loop`, on flat lists: the state, then the arguments."""

    def __init__(
        self,
        step: Callable[..., Any],
        state: Any,
        length: int | None,
        args: Any,
        condition: Callable[..., Any] | None,
        snapshots: int | None,
        memory: int | str | None,
        spill: str | Path | None,
    ) -> None:
        if (length is None) == (condition is None):
            raise ArgumentError(
                "checkpoint_loop: give the number of steps or a condition, and not both",
                where=str(here()),
                fix="pass length, or condition=lambda state: ...",
            )
        for name, n in (("length", length), ("snapshots", snapshots)):
            if n is not None and n < 1:
                raise ArgumentError(
                    f"checkpoint_loop: {name}={n}", where=str(here()), fix="use 1 or more"
                )
        self.user_step = step
        self.condition = condition
        self.length = length
        self.snapshots = snapshots
        self.memory = None if memory is None else parse_bytes(memory)
        self.spill = spill
        first, self.structure = tree.flatten(tree.map(as_array, state))
        rest, self.args_structure = tree.flatten(tree.map(as_array, args))
        self.n = len(first)
        self.types = [type_of(x) for x in first]
        self.leaves = [*first, *rest]
        self.pending: Machine | None = None

    def step(self, i: int, state: State, args: State) -> State:
        result = self.user_step(
            tree.unflatten(self.structure, state), i, *tree.unflatten(self.args_structure, args)
        )
        leaves, structure = tree.flatten(tree.map(as_array, result))
        types = [type_of(x) for x in leaves]
        if structure != self.structure or types != self.types:
            raise ShapeError(
                "checkpoint_loop: the step changes the type of the state",
                where=str(here()),
                details=[f"before: {self.types}", f"after: {types}"],
                fix="return a state built like the first one, with its shapes and dtypes",
            )
        return leaves

    def goes_on(self, i: int, state: State, args: State) -> bool:
        if self.length is not None:
            return i < self.length
        assert self.condition is not None
        return bool(
            self.condition(
                tree.unflatten(self.structure, state), *tree.unflatten(self.args_structure, args)
            )
        )

    def run(self, *leaves: Any) -> State:
        """Without a gradient: the states are dropped at once."""
        state, args = list(leaves[: self.n]), list(leaves[self.n :])
        i = 0
        while self.goes_on(i, state, args):
            state = self.step(i, state, args)
            i += 1
        return state

    def machine(self, leaves: Sequence[Any]) -> tuple[Machine | None, State]:
        """The machine after its forward pass, and the last state."""
        state, args = list(leaves[: self.n]), list(leaves[self.n :])
        kept: Kept = Kept() if self.spill is None else Spilled(self.spill)
        if self.length is None or self.spill is not None:
            length = self.walk(state, args, kept)
            if not length:
                return None, state
            starts = sorted({*kept.states, *getattr(kept, "files", ())})
            actions: Iterable[Action] = revolve_between(starts, length, self.slots(length, leaves))
        else:
            length = self.length
            actions = self.schedule(length, leaves)
            kept.put(0, state)
        machine = Machine(self.step, state, args, iter(actions), kept)
        return machine, machine.forward(length - 1)

    def walk(self, state: State, args: State, kept: Kept) -> int:
        """Run to the end with states kept at distances that double when there are too many."""
        slots = self.snapshots or FEW
        distance, i = 1, 0
        if self.spill is not None:
            distance = max(1, (slots + 1) * (slots + 2) // 2)  # no step of a part runs 3 times
        while self.goes_on(i, state, args):
            if i % distance == 0:
                if isinstance(kept, Spilled):
                    kept.spill(i, state)
                else:
                    distance = kept_apart(kept.states, i, distance, slots)
                    if i % distance == 0:
                        kept.put(i, state)
            state = self.step(i, state, args)
            i += 1
        return i

    def slots(self, length: int, leaves: Sequence[Any]) -> int:
        if self.memory is not None:
            return self.bytes_to_slots(leaves)[0]
        if self.snapshots is not None:
            return self.snapshots
        slots = 1
        while (slots + 1) * (slots + 2) // 2 < length:
            slots += 1
        return max(slots, FEW if self.length is None else 1)

    def schedule(self, length: int, leaves: Sequence[Any]) -> Iterator[Action]:
        """Binomial, or with tapes among what is kept where that takes fewer steps."""
        if self.memory is None:
            return revolve(length, min(self.slots(length, leaves), length))
        slots, tape = self.bytes_to_slots(leaves)
        slots = min(slots, length)
        if length <= MOST_MIXED and tape <= slots and slots > 1:
            free = slots - 1  # the first state is held all the time
            if mixed_forwards(length, free, tape) < advances(length, slots) + length:
                return mixed_schedule(length, free, tape)
        return revolve(length, slots)

    def bytes_to_slots(self, leaves: Sequence[Any]) -> tuple[int, int]:
        """How many states fit, and to how many of them the tape of a step is equal."""
        assert self.memory is not None
        state, args = list(leaves[: self.n]), list(leaves[self.n :])
        trial = Machine(self.step, state, args, iter(()), Kept())
        trial.tape(0)
        size = max(1, sum(t.nbytes for t in self.types))
        tape = tape_bytes(trial.tapes[0][0], leaves)
        free = self.memory - size - tape  # the present state, and the tape that is pulled
        if free < size:
            least = 2 * size + tape
            raise BudgetError(
                f"checkpoint_loop: {show_bytes(self.memory)} do not hold two states "
                f"({show_bytes(size)} each) and the tape of a step ({show_bytes(tape)})",
                where=str(here()),
                fix=f"give memory={least} or more",
            )
        return free // size, max(1, -(-tape // size))

    def forward(self, *leaves: Any) -> tuple[State, State]:
        machine, outputs = self.machine(leaves)
        if any(type(y) is Array for y in outputs) and not any(type(x) is Array for x in leaves):
            raise TracedValueError(
                "checkpoint_loop: the step reads a traced value from outside, which its gradient "
                "would miss",
                where=str(here()),
                fix="pass the value behind the length: checkpoint_loop(step, state, n, value)",
            )
        is_plain = not any(type(x) is Array for x in (*leaves, *outputs))
        self.pending = machine if is_plain else None
        return outputs, list(leaves)

    def backward(self, saved: State, cts: State, types: Any) -> State:
        machine, self.pending = self.pending, None
        if machine is None:
            machine = self.machine(saved)[0]
        full = [
            ct if is_differentiable(t.dtype) else None
            for ct, t in zip(cts, self.types, strict=True)
        ]
        if machine is None:  # no step has run
            return [*full, *(None for _ in saved[self.n :])]
        first, totals = machine.backward(full)
        return [*first, *totals]


def tape_bytes(run: Reverse, leaves: Sequence[Any]) -> int:
    """Bytes of what the tape of a run holds, arguments excepted."""
    found: dict[int, int] = {}
    outside = {id(x) for x in leaves}
    waiting: list[Any] = [node for node in run.nodes if node is not None]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += node.parents
        for x in getattr(node, "saved", ()) or ():
            if isinstance(x, np.ndarray) and id(x) not in outside:
                found[id(x)] = x.nbytes
    return sum(found.values())
