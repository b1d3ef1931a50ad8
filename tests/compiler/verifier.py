"""Which stages of the compiler ran, each with its check; and LLVM's own check of its modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pullback.compiler import executable, verify
from pullback.compiler.llvm import assembler


@contextmanager
def verified() -> Iterator[list[str]]:
    """Verify after every stage; gives the names of those that ran."""
    ran: list[str] = []
    check, emit = verify.checked, assembler.emit_object

    def checked(stage: str, made: Any) -> None:
        check(stage, made)
        ran.append(stage)

    def emit_object(host: Any, module: Any) -> bytes:
        module.verify()
        ran.append("llvm")
        code: bytes = emit(host, module)
        return code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "checked", checked)
        patch.setattr(executable, "checks_stages", lambda: True)
        patch.setattr(assembler, "emit_object", emit_object)
        yield ran
