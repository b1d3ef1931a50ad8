"""How convolutions are cut, and that working memory covers what the loops take."""

from __future__ import annotations

import numpy as np
import pytest

from pullback import nn
from pullback.compiler.pipeline import planned
from pullback.compiler.schedule.convolutions import SlideTiling, SumTiling, image_tiling
from pullback.compiler.schedule.target import NARROW
from pullback.core.types import type_of
from pullback.transforms.stage import stage


def tiling(x_shape, w_shape, dtype=np.float64):
    x, w = np.zeros(x_shape, dtype), np.zeros(w_shape, dtype)
    graph = stage(lambda x, w: [nn.conv(x, w)], [type_of(x), type_of(w)]).graph
    (equation,) = (e for e in graph.equations if e.primitive.name == "conv")
    return image_tiling(planned(graph, {}, False, NARROW), equation)


def test_small_kernels_slide_and_large_ones_are_summed():
    assert isinstance(tiling((2, 3, 9, 9), (4, 3, 3, 3)), SlideTiling)
    assert isinstance(tiling((2, 3, 9, 9), (4, 3, 7, 7)), SumTiling)


def test_what_has_no_native_form_declares_nothing():
    assert tiling((0, 3, 9, 9), (4, 3, 3, 3)) is None


def test_images_are_read_in_place_where_the_copy_would_be_the_same():
    found = tiling((2, 3, 1, 8), (4, 3, 1, 1))
    assert found.copies == []
    assert found.scratch_bytes == 0
    assert found.columns == 8


@pytest.mark.parametrize("w_shape", [(4, 3, 3, 3), (4, 3, 7, 7)])
def test_the_pieces_of_all_chunks_are_added(w_shape):
    found = tiling((32, 3, 40, 40), (16, 3, *w_shape[2:]))
    assert found.n_chunks > 1
    n_bytes = [found.bytes_of(n) for n in found.numbers]
    assert all(n % (found.n_chunks * 128) == 0 for n in n_bytes)  # whole cache lines
    assert sum(n_bytes) <= found.scratch_bytes < sum(n_bytes) + 64 * len(n_bytes)
