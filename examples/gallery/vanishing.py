"""Gradients through forty layers, for four starts.

RMS of dL/da by layer. Only weights that match the activation keep it level.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb
from pullback import nn

rng = np.random.default_rng(0)
x = rng.normal(size=(128, 64))
label = np.argmax(x[:, :4], axis=1)


def loss(net, x, label):
    return nn.softmax_cross_entropy(net(x), label)


figure, axes = plt.subplots(figsize=(7, 4.5))
for name, activation, initializer in [
    ("sigmoid, Xavier", nn.sigmoid, nn.init.xavier),
    ("tanh, Xavier", nn.tanh, nn.init.xavier),
    ("relu, Xavier", nn.relu, nn.init.xavier),
    ("relu, He", nn.relu, nn.init.he),
]:
    draw = np.random.default_rng(1)
    net = nn.mlp(draw, (64, *[64] * 40, 4), activation=activation, initializer=initializer)
    layers = pb.flow.probe(loss, net, x, label).layers[:-1:2]
    axes.semilogy([layer.ct_rms for layer in layers], ".-", label=name)
    print(f"{name}: first over last {layers[0].ct_rms / layers[-1].ct_rms:.0e}")
axes.set(xlabel="layer", ylabel="RMS of dL/da")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "vanishing.png", dpi=120)
