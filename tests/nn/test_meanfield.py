"""Mean-field theory against the tables of the literature and against wide random networks."""

import math

import numpy as np
import pytest

from pullback import nn
from pullback.errors import ArgumentError
from pullback.nn import meanfield

# E[phi^2] and E[phi'^2] for z ~ N(0, 1), by quadrature in an independent pilot.
TABLE = {
    nn.relu: (0.5, 0.5),
    nn.leaky_relu: (0.50005, 0.50005),
    nn.tanh: (0.394294, 0.464403),
    nn.sigmoid: (0.293379, 0.044836),
    nn.selu: (1.0, 1.07158),
    nn.elu: (0.644945, 0.668102),
    nn.gelu: (0.425221, 0.455851),
    nn.silu: (0.355776, 0.379482),
}


@pytest.mark.parametrize("activation", TABLE, ids=lambda f: f.__name__)
def test_second_moments_are_those_of_the_table(activation):
    square, slope = TABLE[activation]
    assert nn.init.gain(activation) ** -2 == pytest.approx(square, abs=6e-7)
    assert meanfield.slope_moment(activation) == pytest.approx(slope, abs=6e-6)


def test_softsign():
    def softsign(z):
        return z / (1 + np.abs(z))

    assert nn.init.gain(softsign) == pytest.approx(2.33753, abs=1e-5)
    assert meanfield.slope_moment(softsign) == pytest.approx(0.227671, abs=1e-6)


def test_selu_slope_moment_has_a_closed_form():
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    tail = math.erfc(math.sqrt(2)) / 2
    expected = scale**2 * (0.5 + alpha**2 * math.exp(2) * tail)
    assert meanfield.slope_moment(nn.selu) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("weight_variance", "q", "chi"),
    [(1.0, 0.1936, 0.75903), (1.3, 0.3153, 0.88016), (2.5, 1.0640, 1.13352)],
)
def test_fixed_points_of_tanh(weight_variance, q, chi):
    found = meanfield.mean_field(np.tanh, weight_variance, 0.05)
    assert (found.q, found.chi) == (pytest.approx(q, abs=6e-5), pytest.approx(chi, abs=6e-6))


@pytest.mark.parametrize(
    ("q", "weight_variance", "bias_variance"),
    [
        (0.1, 1.177569, 0.000832),
        (0.3, 1.457999, 0.01239),
        (0.5, 1.687975, 0.038041),
        (1.0, 2.153303, 0.150965),
        (2.0, 2.861162, 0.512265),
    ],
)
def test_critical_line_of_tanh(q, weight_variance, bias_variance):
    found = meanfield.critical(np.tanh, q)
    assert found.weight_variance == pytest.approx(weight_variance, abs=1e-6)
    assert found.bias_variance == pytest.approx(bias_variance, abs=1e-6)
    assert found.depth == math.inf
    again = meanfield.mean_field(np.tanh, weight_variance, bias_variance)
    assert again.chi == pytest.approx(1, abs=1e-4)


def test_sigmoid_and_impossible_requests():
    found = meanfield.mean_field(nn.sigmoid, 1.0)
    assert (found.q, found.chi) == (
        pytest.approx(0.264687, abs=1e-6),
        pytest.approx(0.055721, abs=1e-6),
    )
    with pytest.raises(ArgumentError, match="no bias variance"):
        meanfield.critical(nn.sigmoid, 1.0)
    with pytest.raises(ArgumentError, match="grows without bound"):
        meanfield.mean_field(nn.relu, 3.0)
    with pytest.raises(ArgumentError, match="negative"):
        meanfield.mean_field(nn.relu, -1.0)
