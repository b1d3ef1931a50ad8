"""What is installed is told from what the user wrote."""

import json

import optree

from pullback.numpy.installed import is_installed


def test_the_standard_library_and_packages_are_installed() -> None:
    assert is_installed(json.__file__)
    assert is_installed(optree.__file__)
    assert is_installed(None)
    assert not is_installed(__file__)
    assert not is_installed("<stdin>")
