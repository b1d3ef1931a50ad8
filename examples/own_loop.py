"""Train a network with a loop of your own: a layer that you write, a loss, an optimizer.

Two moons, two classes. ``Sine`` is a plain dataclass; registering it makes its arrays parameters.
Run: python examples/own_loop.py
"""

import dataclasses

import numpy as np

import pullback as pb
from pullback import nn, optim


@dataclasses.dataclass
class Sine:
    """sin(frequency * x), with one trained frequency per unit."""

    frequency: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.sin(self.frequency * x)


pb.tree.dataclass(Sine)


def two_moons(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    label = rng.integers(0, 2, n)
    angle = np.pi * (rng.random(n) + label)
    points = np.stack([np.cos(angle) + label, np.sin(angle) + 0.5 * label], axis=1)
    return points + 0.1 * rng.normal(size=(n, 2)), label


def loss(net: nn.Sequential, x: np.ndarray, label: np.ndarray) -> float:
    return nn.softmax_cross_entropy(net(x), label)


def main() -> None:
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear.init(rng, 2, 16, initializer=nn.init.xavier),
        Sine(np.ones(16)),
        nn.Linear.init(rng, 16, 2),
    )
    x, label = two_moons(rng, 400)
    optimizer = optim.adam(0.02)
    state = optimizer.init(net)
    for step in range(301):
        value, grads = pb.value_and_grad(loss)(net, x, label)
        net, state = optimizer.update(grads, state, net)
        if step % 100 == 0:
            print(f"step {step}  loss {value:.4f}  gradient {optim.global_norm(grads):.1e}")
    x, label = two_moons(rng, 400)
    accuracy = np.mean(np.argmax(net(x), axis=1) == label)
    print(f"accuracy on new points {accuracy:.3f}")


if __name__ == "__main__":
    main()
