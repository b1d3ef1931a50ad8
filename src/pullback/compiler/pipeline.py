"""What is done to a program, stage by stage, in order: the only list of it.

The compiler runs it, ``show`` prints from it, :mod:`~pullback.compiler.verify` checks after each of
its stages, and the page on native code quotes it. A stage is a function of what it is given: of a
graph in ``REWRITES`` (for the whole program) and ``BEFORE`` (for each graph, those inside of loops
too), of a schedule in ``PLANNING`` and ``PLACING``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from pullback.compiler.passes.choose_layouts import choose_layouts
from pullback.compiler.passes.expand import expand
from pullback.compiler.passes.fission import fission
from pullback.compiler.passes.join_folds import join_folds
from pullback.compiler.passes.promote import promote
from pullback.compiler.passes.recompute_exact import recompute_exact
from pullback.compiler.passes.recompute_stacks import recompute_stacks
from pullback.compiler.passes.sink_reshapes import sink_reshapes
from pullback.compiler.passes.split_complex import split_complex
from pullback.compiler.passes.turn_products import turn_products
from pullback.compiler.schedule.bodies import inner_graphs
from pullback.compiler.schedule.build import drop_stores, take_numbers, unfused
from pullback.compiler.schedule.chains import join_chains
from pullback.compiler.schedule.epilogues import attach_tails
from pullback.compiler.schedule.groups import (
    find_local,
    join_blocks,
    join_channels,
    join_planes,
    join_rows,
    merge_maps,
)
from pullback.compiler.schedule.memory import overwrite, place, reuse_in_chains
from pullback.compiler.schedule.prologues import attach_prologues
from pullback.compiler.schedule.recompute import rematerialise
from pullback.compiler.schedule.stacks import tile_products
from pullback.compiler.schedule.steps import Room, Schedule
from pullback.compiler.schedule.target import Processor
from pullback.core.graph import Graph
from pullback.transforms.passes.pipeline import optimize

__all__ = [
    "BEFORE",
    "PLACING",
    "PLANNING",
    "REWRITES",
    "Check",
    "Stage",
    "planned",
    "rewritten",
    "unchecked",
]

T = TypeVar("T", Graph, Schedule)
Check = Callable[[str, Any], None]  # of the name of a stage, and what it has made


class Stage(NamedTuple):
    """A function that makes a better graph or schedule; ``shown`` is its name for ``show``."""

    run: Callable[[Any], Any]
    about: str
    shown: str = ""

    @property
    def name(self) -> str:
        return self.run.__name__


REWRITES = (
    Stage(expand, "`var` and `logsumexp` become the passes that they are"),
    Stage(split_complex, "complex arrays become two real ones"),
    Stage(promote, "operands of products get the dtype of the result"),
    Stage(optimize, "calls are inlined, equal equations merged, dead ones dropped"),
    Stage(turn_products, "`(a.T @ b).T` becomes `b.T @ a`"),
    Stage(join_folds, "sums of sums over other axes are one sum", "simplified"),
    Stage(fission, "products leave the loops in which they need not wait"),
    Stage(sink_reshapes, "reshapes of windows move behind what folds them"),
    Stage(recompute_stacks, "backward loops compute again what follows from another stack"),
    Stage(choose_layouts, "matrices that a loop reads transposed are transposed before it"),
    Stage(optimize, "once more, for what has come together", "layouts"),
)
BEFORE = (Stage(recompute_exact, "each reader computes again what does not round"),)
PLANNING = (
    Stage(rematerialise, "what is read late and is cheap is computed again there"),
    Stage(merge_maps, "maps over the same elements are one loop"),
    Stage(attach_tails, "a map follows each piece of a product"),
    Stage(attach_prologues, "a map is computed where a product copies its operand"),
    Stage(take_numbers, "a number that one map reads is computed before its loop"),
    Stage(join_rows, "folds and maps of the same rows go row by row"),
    Stage(join_blocks, "folds of all elements follow their maps block by block"),
    Stage(join_channels, "folds and maps of the same channels go channel by channel"),
    Stage(join_planes, "where channels are large, plane by plane"),
    Stage(drop_stores, "what only its own loop reads is not stored"),
    Stage(find_local, "what only a group knows has a row or a block of memory"),
    Stage(join_chains, "steps of the same stack are one job"),
    Stage(overwrite, "steps write over what nobody reads later"),
    Stage(reuse_in_chains, "members of a chain write where others have been"),
    Stage(tile_products, "products are cut for threads, caches and registers"),
)
# Then the graphs inside of steps are planned alike, so that it is known what they need.
PLACING = (Stage(place, "values and working memory get their places"),)


def unchecked(name: str, made: Any) -> None:
    """No check."""


def rewritten(graph: Graph, check: Check = unchecked) -> tuple[Graph, Mapping[str, Graph]]:
    """The graph that is planned, and those on the way that ``show`` knows by name."""
    shown: dict[str, Graph] = {}
    for stage in REWRITES:
        graph = _run(stage, graph, check)
        if stage.shown:
            shown[stage.shown] = graph
    return graph, shown


def planned(
    graph: Graph, room: Room, is_alone: bool, processor: Processor, check: Check = unchecked
) -> Schedule:
    """The schedule of a graph: steps in order, with their places in memory, those of bodies too.

    ``room`` says which outputs may be written over an input; what ``is_alone`` runs on one thread.
    """
    for stage in BEFORE:
        graph = _run(stage, graph, check)
    schedule = unfused(graph, room, is_alone, processor)
    for stage in PLANNING:
        schedule = _run(stage, schedule.copy(), check)
    for step in schedule.steps:
        inside = [
            planned(inner, own, is_alone or inner_is_alone, processor, check)
            for inner, own, inner_is_alone in inner_graphs(schedule, step)
        ]
        if inside:
            schedule.bodies[step] = inside
    for stage in PLACING:
        schedule = _run(stage, schedule.copy(), check)
    return schedule


def _run(stage: Stage, given: T, check: Check) -> T:
    made: T = stage.run(given)
    check(stage.name, made)
    return made
