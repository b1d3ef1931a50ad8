"""Settings shared by all tests: reproducible draws, no time limit on one example."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def object_code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled programs away from the cache of the user, and verify what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULLBACK_CHECK_STAGES", "1")
        patch.setenv("PULLBACK_CACHE_DIR", str(tmp_path_factory.mktemp("object-code")))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that draws the same numbers in every run and every test."""
    return np.random.default_rng(20260)
