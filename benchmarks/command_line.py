"""The options of the benchmarks: those that their functions take."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from typing import Any

HELP = {
    "quick": "few repetitions",
    "only": "workloads, or sizes, that have this in their names",
    "hogged": "beside a foreign busy process",
}


def from_command_line(main: Callable[..., Any], description: str | None) -> Any:
    """Call ``main``: a switch for each parameter that is false by default, a text for others."""
    parser = argparse.ArgumentParser(description=description)
    for name, parameter in inspect.signature(main).parameters.items():
        action = "store_true" if parameter.default is False else "store"
        parser.add_argument(f"--{name}", action=action, default=parameter.default, help=HELP[name])
    return main(**vars(parser.parse_args()))
