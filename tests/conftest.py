"""Settings shared by all tests: reproducible draws, no time limit on one example."""

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


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that draws the same numbers in every run and every test."""
    return np.random.default_rng(20260)
