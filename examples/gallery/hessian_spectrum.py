"""The spectrum of a network's Hessian, before and after training.

Stochastic Lanczos quadrature: 40 Hessian-vector products a probe, no matrix. A few eigenvalues
stand out, most are near zero.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb
from pullback import nn, optim

rng = np.random.default_rng(0)
x = rng.normal(size=(300, 10))
y = np.argmax(x @ rng.normal(size=(10, 3)) + 0.3 * rng.normal(size=(300, 3)), axis=1)
net = nn.mlp(rng, (10, 32, 3), activation=nn.tanh)


def loss(net):
    return nn.softmax_cross_entropy(net(x), y)


figure, axes = plt.subplots(figsize=(7, 4))
optimizer = optim.adam(0.01)
state = optimizer.init(net)
gradient = pb.compile(pb.grad(loss))
for steps in (0, 300):
    for _ in range(steps):
        net, state = optimizer.update(gradient(net), state, net)
    H = pb.linear_operator(loss, net, compile=True)
    found = pb.curvature.spectral_density(H, num_runs=4, lanczos_steps=40)
    largest = pb.curvature.eigenvalues(H, k=1)[0][-1]
    print(f"after {steps} steps: loss {loss(net):.3f}, largest eigenvalue {largest:.2f}")
    axes.semilogy(found.grid, found.density + 1e-6, label=f"after {steps} steps")
axes.set(xlabel="eigenvalue", ylabel="density", ylim=(1e-4, None))
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "hessian_spectrum.png", dpi=120)
