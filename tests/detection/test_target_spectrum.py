"""One spectrum for many target pixels."""

import numpy as np
import pytest

from hsi_toolkit.detection.target_spectrum import target_spectrum
from hsi_toolkit.errors import LabelError

SPECTRA = np.array([[1.0, 1.0], [1.1, 1.0], [1.0, 1.1], [1.0, 0.9], [9.0, 1.0]])


def test_an_outlier_moves_the_mean_but_not_the_mean_of_the_nearest() -> None:
    assert target_spectrum(SPECTRA)[0] == pytest.approx(2.62)
    np.testing.assert_allclose(target_spectrum(SPECTRA, "mean-of-nearest"), SPECTRA[:4].mean(axis=0))


def test_the_central_pixel_is_the_one_nearest_to_all() -> None:
    np.testing.assert_array_equal(target_spectrum(SPECTRA[:4], "central-pixel"), SPECTRA[0])


def test_angles_ignore_brightness() -> None:
    spectra = np.array([[1.0, 1.0], [5.0, 5.0], [1.0, 3.0]])
    chosen = target_spectrum(spectra, "central-pixel", "angle")
    assert chosen[0] == chosen[1]


def test_no_target_is_refused() -> None:
    with pytest.raises(LabelError, match="no target pixel"):
        target_spectrum(np.empty((0, 3)))
