"""Sizes in memory as people write them."""

import pytest

import pullback as pb
from pullback.analysis.sizes import parse_bytes, show_bytes


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("8GB", 8_000_000_000),
        ("8 GiB", 8_589_934_592),
        ("1.5 MiB", 1_572_864),
        (".5kb", 500),
        ("200", 200),
        (4096, 4096),
    ],
)
def test_text_and_numbers(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "much", "8 GBB", "-3 MB", 0, -5, True, 2.5, None, "0 MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(pb.errors.ArgumentError, match="is no size in memory"):
        parse_bytes(text)


def test_three_digits_and_a_unit():
    assert [show_bytes(n) for n in (0, 999, 1000, 13_476_831_232)] == [
        "0 B",
        "999 B",
        "1 kB",
        "13.5 GB",
    ]
