"""Entering traced forms under NumPy's names."""

import numpy as np
import pytest

from pullback.numpy import registry


def test_each_kind_of_name_goes_to_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = ("functions", "methods", "ufunc_methods", "ufuncs")
    for name in tables:
        monkeypatch.setattr(registry, name, {})

    @registry.implements(np.fft.fft, np.spacing, method="byteswap", ufunc_method="reduceat")
    def traced() -> None: ...

    assert registry.functions == {np.fft.fft: traced}
    assert registry.ufuncs == {np.spacing: traced}
    assert registry.methods == {"byteswap": traced}
    assert registry.ufunc_methods == {"reduceat": traced}
