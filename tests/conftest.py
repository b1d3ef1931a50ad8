"""Settings shared by all tests: one BLAS thread a worker, reproducible draws."""

import os

# Before NumPy is imported: two workers times two BLAS threads would fight over two cores.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

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
