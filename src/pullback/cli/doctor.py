"""``pullback doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pullback.cli.target import find
from pullback.errors import ArgumentError
from pullback.flow import Diagnosis, Problem, diagnose
from pullback.flow import remedies as try_remedies
from pullback.flow.findings import SEVERITIES

__all__ = ["doctor"]

FOUND = 3  # the exit code when something is wrong with the network, not with the call


def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION",
            help="A function without arguments that returns a pullback.flow.Problem, or a tuple "
            "(loss, params, inputs, targets).",
        ),
    ],
    extras: Annotated[
        str,
        typer.Option(
            help="Measurements that cost more passes, separated by commas: jacobians, shattering, "
            "noise, curvature, or all."
        ),
    ] = "",
    json: Annotated[
        Path | None, typer.Option(help="Also write measurements and findings to this file.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with verdicts, curves and tables.")
    ] = None,
    remedies: Annotated[
        bool,
        typer.Option(
            "--remedies",
            help="Also try remedies on the same data, from three seeds; takes training runs.",
        ),
    ] = False,
    fail_on: Annotated[
        str,
        typer.Option(help="Least severity that makes the exit code 3: severe, warning or never."),
    ] = "warning",
) -> None:
    """Say why a network does not learn: measure its gradient flow, data and loss.

    Exit code 0 if nothing is wrong, 3 if something is, 2 if the arguments make no sense.
    """
    allowed = (*SEVERITIES[:2], "never")
    if fail_on not in allowed:
        raise ArgumentError(f"--fail-on {fail_on}", fix=f"use one of {', '.join(allowed)}")
    build, _, path = find(target)
    names = [name.strip() for name in extras.split(",") if name.strip()]
    diagnosis = diagnose(_problem(build(), f"{path}:{build.__name__}"), extras=_wanted(names))
    print(diagnosis)
    treatment = try_remedies(diagnosis) if remedies and diagnosis.findings else None
    if treatment is not None:
        print(f"\n{treatment}")
    if html is not None:
        print(f"\nwrote {diagnosis.save(html, treatment)}")
    if json is not None:
        json.write_text(diagnosis.dumps() + "\n")
    if _is_failure(diagnosis, fail_on):
        raise typer.Exit(FOUND)


def _wanted(names: list[str]) -> str | list[str]:
    return "all" if names == ["all"] else names


def _problem(built: Any, name: str) -> Problem:
    if isinstance(built, Problem):
        return built
    if isinstance(built, tuple) and len(built) >= 3 and callable(built[0]):
        return Problem(built[0], built[1], built[2:])
    raise ArgumentError(
        f"{name} returned a {type(built).__name__}",
        fix="return pullback.flow.Problem(loss, params, (inputs, targets), learning_rate=...)",
    )


def _is_failure(diagnosis: Diagnosis, fail_on: str) -> bool:
    if fail_on == "never":
        return False
    bad = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return any(f.severity in bad for f in diagnosis.findings)
