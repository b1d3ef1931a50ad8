"""The report as text, Markdown and data."""

import numpy as np

import pullback as pb


def loss(w, x):
    z = x @ w
    return np.sum(np.where(z > 0, z, 0.1 * z) ** 2)


REPORT = pb.explain(loss, np.array([1.0, -2.0]), np.ones((3, 2)))


def columns(line, rule):
    """Cells of a line of an aligned table, cut where its rule has gaps."""
    starts = [i for i, c in enumerate(rule) if c == "-" and (i == 0 or rule[i - 1] == " ")]
    return [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]


def test_text_has_three_aligned_tables():
    title, forward, backward, costs = str(REPORT).split("\n\n")
    assert title.startswith("loss = 0.03")
    heading, rule, *lines = backward.splitlines()
    assert columns(heading, rule) == ["backward", "formula", "shape", "depends on", "flops", "line"]
    rows = []  # a cell that is broken goes on in the next line
    for line in lines:
        cells = columns(line, rule)
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    assert [row[:2] for row in rows] == [[row.name, row.formula] for row in REPORT.rows]
    assert [row[3] for row in rows] == [", ".join(map(str, row.depends)) for row in REPORT.rows]
    starts = [line for line in forward.splitlines()[2:] if not line.startswith(" ")]
    assert len(starts) == len(REPORT.forward)
    assert max(map(len, str(REPORT).splitlines())) <= 100
    assert f"{REPORT.residual_bytes:,} bytes" in costs
    assert max(len(line) - len(line.rstrip()) for line in str(REPORT).splitlines()) == 0


def test_markdown_has_the_same_cells_and_escapes_bars():
    report = pb.explain(lambda x: np.sum(np.where((x > 0) | (x < -1), x, 0.0)), np.ones(2))
    lines = report.to_markdown().splitlines()
    assert "**f = 2**" in lines
    assert sum(line.startswith("| ---") for line in lines) == 3
    for line in lines:
        if line.startswith("| df/dx"):
            assert len(line.replace("\\|", "").split("|")) == 8


def test_the_ratio_is_that_of_value_and_gradient_over_value():
    forward, backward = REPORT.forward_cost.flops, REPORT.backward_cost.flops
    assert REPORT.flops_ratio == (forward + backward) / forward
    assert f"{REPORT.flops_ratio:.2f}" in str(REPORT)


def test_a_function_without_flops_has_no_ratio():
    report = pb.explain(lambda x: x[0], np.ones(2))
    assert np.isnan(report.flops_ratio)
    assert "flops  0        0         -      -" in str(report)
    assert report["x"].shape == (2,)
    assert report["x"].dtype == np.float64
