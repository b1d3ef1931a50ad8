"""What the tests of native code share."""

from __future__ import annotations

import pytest

from pullback.compiler.llvm import assembler
from pullback.compiler.schedule.target import NARROW, WIDE, Processor


@pytest.fixture(params=[NARROW, WIDE], ids=["narrow", "wide"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Processor:
    """Code for each is right on any: LLVM splits vectors that a processor does not have."""
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")  # whose keys do not know of it
    monkeypatch.setattr(assembler, "processor", lambda: request.param)
    return request.param
