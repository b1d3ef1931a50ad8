"""A picture of points by t-SNE: van der Maaten & Hinton (2008), whose gradient is equation 5."""

import numpy as np

import pullback as pb

RNG = np.random.default_rng(10)
X = np.concatenate([RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4)) + 4])
START = 1e-2 * RNG.normal(size=(12, 2))


def distances(x):
    return np.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=-1)


def joint(x, sigma=1.0):
    affinity = np.exp(-distances(x) / (2 * sigma**2))
    np.fill_diagonal(affinity, 0)
    conditional = affinity / affinity.sum(axis=1, keepdims=True)
    return np.maximum((conditional + conditional.T) / (2 * len(x)), 1e-12)


P = joint(X)


def divergence(y):
    student = 1 / (1 + distances(y))
    np.fill_diagonal(student, 0)
    q = np.maximum(student / np.sum(student), 1e-12)
    return np.sum(P * np.log(P / q))


def equation_five(y):
    student = 1 / (1 + distances(y))
    np.fill_diagonal(student, 0)
    pull = (P - student / student.sum()) * student
    np.fill_diagonal(pull, 0)
    return 4 * (np.diag(pull.sum(axis=1)) - pull) @ y


def test_gradient_is_equation_five() -> None:
    for y in (START, RNG.normal(size=(12, 2))):
        np.testing.assert_allclose(pb.grad(divergence)(y), equation_five(y), atol=1e-9)
    pb.check_grads(divergence, (RNG.normal(size=(12, 2)),))


def test_the_points_part() -> None:
    gradient = pb.compile(pb.value_and_grad(divergence))
    y, speed, first = START, np.zeros_like(START), divergence(START)
    for k in range(150):
        _, slopes = gradient(y)
        speed = (0.5 if k < 50 else 0.8) * speed - 5.0 * slopes
        y = y + speed
    assert divergence(y) < 0.5 * first
    middle = [y[:6].mean(axis=0), y[6:].mean(axis=0)]
    spread = max(np.linalg.norm(y[:6] - middle[0], axis=1).max(),
                 np.linalg.norm(y[6:] - middle[1], axis=1).max())  # fmt: skip
    assert np.linalg.norm(middle[0] - middle[1]) > spread
