"""Values that PyTorch computed, and how they are read."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import pullback as pb
from pullback import nn

__all__ = ["check_layer", "recorded"]

TORCH = Path(__file__).parent / "torch.safetensors"


@cache
def _file() -> dict[str, Any]:
    from safetensors.numpy import load_file

    arrays: dict[str, Any] = load_file(TORCH)
    return arrays


def recorded(prefix: str) -> dict[str, Any]:
    """The arrays whose names start with ``prefix/``, without it."""
    start = f"{prefix}/"
    found = {k.removeprefix(start): v for k, v in _file().items() if k.startswith(start)}
    assert found, prefix
    return found


def check_layer(
    case: str, layer: Any, *, in_training: bool = False, tolerance: float = 1e-9
) -> Any:
    """Load PyTorch's parameters into ``layer``, and compare values and all gradients."""
    values = recorded(case)
    params = {k[6:]: v for k, v in values.items() if k.startswith("param/")}
    layer = nn.load_state_dict(layer, params)
    x = values["in/0"]

    def weighted(layer: Any, x: Any) -> Any:
        y, moved = nn.trained(layer, x) if in_training else (layer(x), layer)
        return np.sum(y * values["ct"]), (y, moved)

    argnums = (0, 1) if x.dtype.kind == "f" else (0,)
    (_, (y, moved)), grads = pb.value_and_grad(weighted, argnums, has_aux=True)(layer, x)
    np.testing.assert_allclose(y, values["out"], rtol=tolerance, atol=tolerance)
    if len(argnums) == 2:
        np.testing.assert_allclose(grads[1], values["grad/in/0"], rtol=tolerance, atol=tolerance)
    found = nn.state_dict(grads[0])
    names = [k for k in values if k.startswith("grad/param/")]
    for name in names:
        np.testing.assert_allclose(
            found[name[11:]], values[name], rtol=tolerance, atol=tolerance, err_msg=name
        )
    return moved
