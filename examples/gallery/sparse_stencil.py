"""A Jacobian in seven products.

Reaction and diffusion on a grid: each unknown touches its neighbours only, and columns that share
no row are computed together.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

n = 12


def residual(u):
    u = u.reshape(n, n)
    around = np.pad(u, 1)
    flow = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2] - 4 * u
    return (flow + u * (1 - u)).ravel()


pattern = pb.sparse.jacobian_sparsity(residual, np.zeros(n * n))
coloring = pb.sparse.color_columns(pattern)
J = pb.sparse_jacobian(residual)(np.full(n * n, 0.5))
print(f"{pattern.shape[0]} x {pattern.shape[1]}, {J.nnz} entries, {coloring.n_colors} products")

figure, axes = plt.subplots(1, 2, figsize=(8, 4))
axes[0].spy(pattern.matrix, markersize=1)
axes[0].set_title("pattern of the Jacobian")
axes[1].imshow(np.asarray(coloring.columns).reshape(n, n), cmap="tab10")
axes[1].set_title("colours of the unknowns")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "sparse_stencil.png", dpi=120)
