"""Rows as text."""

from pullback.explanation.rows import aligned, markdown


def test_wide_cells_are_broken_within_a_terminal():
    text = aligned(["name", "formula"], [["a", "x + " * 60], ["b", "y"]])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert "".join(text.split()) == "".join(
        ("name formula ---- " + "-" * 94 + " a " + "x + " * 60 + " b y").split()
    )


def test_a_row_of_one_cell_goes_across():
    lines = aligned(["a", "b"], [["1", "2"], ["three times more"], ["3", "4"]]).splitlines()
    assert lines == ["a  b", "-  -", "1  2", "  three times more", "3  4"]


def test_bars_are_escaped():
    assert markdown(["a"], [["x | y"]]).splitlines()[-1] == "| x \\| y |"
