"""A network learns two spirals.

Two hidden layers, a compiled step with Adam, 1,500 steps in a second or two.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb
from pullback import nn, optim

rng = np.random.default_rng(0)
angle = np.sqrt(rng.uniform(0.05, 1, size=(2, 300))) * 3 * np.pi
turn = np.array([[0.0], [np.pi]])
x = np.stack([angle * np.cos(angle + turn), angle * np.sin(angle + turn)], axis=-1).reshape(-1, 2)
x = x / 5 + 0.03 * rng.normal(size=x.shape)
y = np.repeat([0, 1], 300)

net = nn.mlp(rng, (2, 64, 64, 2), activation=nn.tanh)
optimizer = optim.adam(0.01)
state = optimizer.init(net)


@pb.compile
def step(net, state):
    def loss(net):
        return nn.softmax_cross_entropy(net(x), y)

    value, gradient = pb.value_and_grad(loss)(net)
    net, state = optimizer.update(gradient, state, net)
    return net, state, value


losses = []
for _ in range(1500):
    net, state, value = step(net, state)
    losses.append(float(value))
print(f"loss {losses[0]:.2f} -> {losses[-1]:.4f}")
print(f"accuracy {np.mean(np.argmax(net(x), axis=1) == y):.3f}")

side = np.linspace(-2.3, 2.3, 200)
grid = np.stack(np.meshgrid(side, side), axis=-1)
odds = np.asarray(net(grid.reshape(-1, 2)))
figure, axes = plt.subplots(1, 2, figsize=(8, 4))
axes[0].contourf(side, side, (odds[:, 1] - odds[:, 0]).reshape(200, 200), levels=20, cmap="RdBu")
axes[0].scatter(*x.T, c=y, cmap="RdBu", s=6, edgecolors="black", linewidths=0.2)
axes[1].semilogy(losses)
axes[1].set(xlabel="step", ylabel="loss")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "spiral.png", dpi=120)
