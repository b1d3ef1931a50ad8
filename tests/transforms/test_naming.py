"""Names of the user's frames."""

import sys

from pullback.transforms.naming import names_in_use, user_frames


def test_names_of_all_frames_inside_the_root_the_outermost_first():
    root = sys._getframe()

    def outer():
        first = "a"
        return [*inner(), first]

    def inner():
        second = "b"
        return [pair for pair in names_in_use(root) if pair[1] in ("a", "b")] + [second]

    assert outer()[:2] == [("first", "a"), ("second", "b")]


def test_the_root_itself_is_not_looked_at():
    assert list(user_frames(sys._getframe())) == []
