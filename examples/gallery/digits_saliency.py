"""What does the network look at? Gradients with respect to pixels.

A small network reads handwritten digits; the gradient of its score for a class, for each picture,
shows which pixels speak for it and which against.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import pullback as pb
from pullback import nn, optim

digits = load_digits()
x, y = digits.data / 16, digits.target
rng = np.random.default_rng(0)
order = rng.permutation(len(x))
train, test = order[:1400], order[1400:]
net = nn.mlp(rng, (64, 64, 10), activation=nn.gelu)
optimizer = optim.adam(0.01)
state = optimizer.init(net)


@pb.compile
def step(net, state, x, y):
    def loss(net):
        return nn.softmax_cross_entropy(net(x), y)

    value, gradient = pb.value_and_grad(loss)(net)
    net, state = optimizer.update(gradient, state, net)
    return net, state, value


for _ in range(600):
    batch = rng.choice(train, size=100, replace=False)
    net, state, _ = step(net, state, x[batch], y[batch])
right = np.mean(np.argmax(net(x[test]), axis=1) == y[test])
print(f"accuracy on {len(test)} unseen digits: {right:.3f}")


def score(picture, label):
    return net(picture[None])[0, label]


shown = [test[y[test] == k][0] for k in (0, 3, 4, 7, 8)]
slopes = pb.vmap(pb.grad(score))(x[shown], y[shown])
size = np.abs(slopes).max()
figure, axes = plt.subplots(2, 5, figsize=(8, 3.4))
for k in range(5):
    axes[0, k].imshow(x[shown[k]].reshape(8, 8), cmap="gray_r")
    axes[1, k].imshow(slopes[k].reshape(8, 8), cmap="RdBu", vmin=-size, vmax=size)
for plot in axes.ravel():
    plot.axis("off")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "digits_saliency.png", dpi=120)
