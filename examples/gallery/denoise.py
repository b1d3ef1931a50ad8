"""Total variation: an image without its noise.

L-BFGS on 4,096 pixels; the gradient of the roughness is that of the NumPy expression.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

n = 64
row, column = np.mgrid[:n, :n]
clean = ((row - 24) ** 2 + (column - 24) ** 2 < 200) * 1.0 + ((row > 36) & (column > 30)) * 0.6
noisy = clean + 0.25 * np.random.default_rng(0).normal(size=clean.shape)


def energy(image):
    down, right = np.diff(image, axis=0)[:, :-1], np.diff(image, axis=1)[:-1]
    return np.sum((image - noisy) ** 2) / 2 + 0.25 * np.sum(np.sqrt(down**2 + right**2 + 1e-4))


found = pb.optimize.minimize(
    energy, noisy, method="L-BFGS-B", compile=True, options={"maxiter": 300}
)
error = [float(np.sqrt(np.mean((image - clean) ** 2))) for image in (noisy, found.x)]
print(f"root mean square error {error[0]:.3f} -> {error[1]:.3f} in {found.nit} steps")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for plot, image, name in zip(
    axes, (clean, noisy, found.x), ("truth", "measured", "found"), strict=True
):
    plot.imshow(image, cmap="gray", vmin=-0.3, vmax=1.3)
    plot.set_title(name)
    plot.axis("off")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "denoise.png", dpi=120)
