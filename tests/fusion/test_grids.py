"""How two grids lie on each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.fusion import Axis

axes = st.builds(
    lambda coarse, ratio, shift: Axis(max(1, int(coarse * ratio)), coarse, 1 / ratio, shift),
    st.integers(4, 20),
    st.floats(1.2, 6.0),
    st.floats(0.0, 0.9),
)


@given(axes, st.floats(0.2, 0.85))
def test_blurring_and_interpolating_keep_a_constant(axis, width):
    blurred = axis.blur(width) @ np.ones(axis.fine)
    np.testing.assert_allclose(blurred[blurred > 0], 1)
    np.testing.assert_allclose(axis.interpolate() @ np.ones(axis.coarse), 1)


@given(axes, st.floats(0.2, 0.85))
def test_a_coarse_pixel_sees_a_gaussian_around_its_centre(axis, width):
    distance = axis.centres[None] - (np.arange(axis.coarse) + 0.5)[:, None]
    within = np.abs(distance) <= max(3.7 * width, 0.5 * axis.step)
    weight = np.where(within, np.exp(-0.5 * (distance / width) ** 2), 0)
    total = weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(axis.blur(width), weight / np.where(total > 0, total, 1), atol=1e-3)


@given(axes)
def test_interpolating_a_line_gives_the_line(axis):
    line = np.arange(axis.coarse, dtype=float)
    inside = (axis.centres > 1.5) & (axis.centres < axis.coarse - 1.5)
    np.testing.assert_allclose((axis.interpolate() @ line)[inside], axis.centres[inside] - 0.5, atol=1e-9)


def test_blurring_finds_the_middle_of_a_coarse_pixel():
    axis = Axis(fine=24, coarse=6, step=0.25, shift=0.0)
    np.testing.assert_allclose((axis.blur(0.3) @ axis.centres)[1:-1], np.arange(6)[1:-1] + 0.5, atol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_a_part_of_an_axis_lies_where_it_lay_in_the_whole(shift):
    axis = Axis(fine=40, coarse=12, step=0.3, shift=shift)
    coarse = slice(3, 9)
    fine = axis.fine_slice(coarse)
    np.testing.assert_allclose(axis.part(coarse, fine).centres + 3, axis.centres[fine])
