"""Remedies are measured against a control on equal seeds, and the order is that of the effects."""

import dataclasses

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, problem, rows

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError
from pullback.flow.changes import REMEDIES
from pullback.flow.surgery import with_activation, with_normalization, with_shortcuts
from pullback.flow.trials import Recipe, train


def test_the_effect_is_that_of_runs_made_by_hand():
    p = problem(network(1), learning_rate=1e-3, n_steps=20, batch_size=None)
    found = pb.flow.remedies(p, names=["higher learning rate"], seeds=1)
    outcome = next(o for o in found.outcomes if o.start == "now" and "x 10" in o.remedy)

    def by_hand(rate):
        net = p.params
        for _ in range(20):
            grads = pb.grad(cross_entropy)(net, *p.batch)
            net = pb.tree.map(lambda w, g, rate=rate: w - rate * g, net, grads)
        return float(cross_entropy(net, *p.batch))

    tenfold = next(o for o in found.outcomes if o.remedy.endswith("x 10"))
    assert tenfold.controls[0] == pytest.approx(by_hand(1e-3), rel=1e-12)
    assert tenfold.losses[0] == pytest.approx(by_hand(1e-2), rel=1e-12)
    assert outcome.ratio < 1


def test_best_first_and_the_order_survives_other_seeds():
    p = problem(network(1), learning_rate=1e-3, n_steps=10)
    names = ["higher learning rate", "lower learning rate", "adam"]
    first = pb.flow.remedies(p, names=names, seeds=2)
    again = pb.flow.remedies(p, names=names, seeds=[7, 8])
    ratios = [o.ratio for o in first.outcomes]
    helping = [r for o, r in zip(first.outcomes, ratios, strict=True) if o.helps]
    assert helping == sorted(helping)
    assert first.best.remedy == again.best.remedy


def test_none_helped_is_an_answer():
    x, y = rows()
    noise = np.random.default_rng(0).permutation(y)
    p = problem(network(1), data=(x, noise), learning_rate=0.05, n_steps=10)
    found = pb.flow.remedies(p, names=["lower learning rate"], seeds=2)
    assert found.best is None
    assert "None of them helped." in str(found)


def test_plain_functions_name_what_needs_rewriting_as_untried():
    def loss(q, x, y):
        return nn.softmax_cross_entropy(np.tanh(x @ q["a"]) @ q["b"], y)

    q = {"a": np.ones((12, 6)) * 3, "b": np.ones((6, 4))}
    found = pb.flow.remedies(
        loss,
        q,
        *rows(),
        learning_rate=0.1,
        n_steps=10,
        seeds=1,
        names=["initializer", "skip", "loss"],
    )
    assert [o.remedy for o in found.outcomes] == ["initializer: scaled"]
    assert {name for name, _ in found.untried} == {"skip", "loss"}
    assert max(map(len, str(found).splitlines())) <= 100


def test_scaled_targets_are_compared_in_the_units_of_the_control():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = 100 * (x @ np.ones((3, 1)))

    def loss(w, x, y):
        return np.mean((x @ w - y) ** 2)

    found = pb.flow.remedies(
        loss,
        np.zeros((3, 1)),
        x,
        y,
        learning_rate=0.05,
        n_steps=5,
        names=["scale targets"],
        seeds=1,
    )
    (outcome,) = found.outcomes
    # Gradient descent on a squared error is linear: scaling the targets changes nothing.
    assert outcome.ratio == pytest.approx(1, rel=0.05)


def test_a_finding_leads_to_a_remedy_that_helps():
    found = pb.flow.diagnose(
        problem(network(8, nn.sigmoid, nn.init.xavier, width=24), n_steps=15, learning_rate=None)
    )
    assert {"activation", "skip"} <= set(found.findings[0].remedies)
    given = dataclasses.replace(found.problem, learning_rate=0.2)
    treatment = pb.flow.remedies(given, names=["activation", "clip"], seeds=2)
    assert treatment.best.remedy.startswith("activation")
    assert treatment.dumps()


def squared(wrap):
    def loss(w, x, y):
        return np.mean((wrap(x @ w) - y) ** 2)

    return loss


def regression(wrap, change):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    x, y = change(x, x @ np.ones((3, 1)))
    recipe = {"learning_rate": 0.1, "n_steps": 30}
    return pb.flow.Problem(squared(wrap), np.full((3, 1), 0.1), (x, y), **recipe)


TARGETS = {
    "align targets": regression(lambda z: z, lambda x, y: (x, np.roll(y, 1, axis=0))),
    "target shape": regression(lambda z: z, lambda x, y: (x, y[:, 0])),
    "target range": regression(nn.sigmoid, lambda x, y: (x, 3 * y)),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_mended_where_the_fault_is_theirs(name):
    found = pb.flow.diagnose(TARGETS[name])
    assert name in found.findings[0].remedies
    treatment = pb.flow.remedies(TARGETS[name], names=list(TARGETS), seeds=2)
    assert [o.remedy for o in treatment.outcomes] == [name]
    assert treatment.best.ratio < 0.6


def test_a_rectified_output_gets_targets_above_zero():
    given = regression(nn.relu, lambda x, y: (x, y))
    (remedy,) = (r for r in REMEDIES if r.name == "target range")
    changed, _ = remedy.apply(given, Recipe(0.1, 1), np.random.default_rng(0))
    assert 0 < np.min(changed.batch[1]) < 1
    np.testing.assert_allclose(np.ptp(changed.batch[1]), np.ptp(given.batch[1]))


def test_surgery_keeps_what_it_does_not_change():
    net = network(3, nn.sigmoid)
    x, _ = rows(5)
    same = with_activation(net, nn.sigmoid)
    np.testing.assert_array_equal(same(x), net(x))
    skipped = with_shortcuts(net)
    inner = skipped.layers[2].inner
    h = nn.sigmoid(net.layers[0](x))
    np.testing.assert_array_equal(skipped.layers[2](h), h + inner(h))
    normed = with_normalization(net).layers[0](x)
    np.testing.assert_allclose(np.mean(normed, axis=1), 0, atol=1e-12)
    assert with_shortcuts(nn.Sequential(nn.relu)) is None


def test_lsuv_gives_every_layer_variance_1():
    p = problem(network(4, nn.tanh, nn.init.xavier))
    net = pb.flow.lsuv(p)
    h, _ = rows()
    for layer in net.layers:
        h = layer(h)
        if isinstance(layer, nn.Linear):
            assert np.var(h) == pytest.approx(1, abs=0.1)


def test_clipping_bounds_every_step():
    p = problem(network(2), learning_rate=1.0)
    start = pb.tree.ravel(p.params)[0]
    trial = train(p, Recipe(1.0, 1, clip=1e-3))
    moved = pb.tree.ravel(trial.params)[0]
    assert np.linalg.norm(moved - start) <= 1e-3 * (1 + 1e-12)
    assert trial.clipped == 1.0


def test_bad_calls_are_refused():
    with pytest.raises(ArgumentError, match="no learning rate"):
        pb.flow.remedies(cross_entropy, network(), *rows())
    with pytest.raises(ArgumentError, match="unknown remedy 'luck'"):
        pb.flow.remedies(problem(), names=["luck"])
