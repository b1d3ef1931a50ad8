"""``numpy.testing``, whose assertions look at the values of traced arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pullback.numpy.arguments import concrete
from pullback.numpy.twins import mirror

__all__: list[str] = []

_look_up, __dir__ = mirror("numpy.testing", {})


def __getattr__(name: str) -> Any:
    value = _look_up(name)
    return _on_values(value) if name.startswith("assert_") and callable(value) else value


def _on_values(assertion: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(assertion)
    def check(*args: Any, **kwargs: Any) -> Any:
        plain = [concrete(a, assertion.__name__) for a in args]
        return assertion(*plain, **{k: concrete(v, k) for k, v in kwargs.items()})

    return check
