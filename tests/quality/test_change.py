"""Agreement of change maps with references."""

import numpy as np
import pytest

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.quality.change import ChangeQuality, change_quality


def test_counts_become_rates() -> None:
    changed = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    reference = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    assert change_quality(changed, reference) == ChangeQuality(0.75, 0.4667, 0.6667, 0.6667, 0.6667)


def test_unknown_pixels_do_not_count() -> None:
    changed = np.array([1, 0, 1], bool)
    reference = np.array([1, 0, 0], bool)
    known = np.array([1, 1, 0], bool)
    assert change_quality(changed, reference, known).accuracy == 1.0
    with pytest.raises(ParameterError, match="says nothing"):
        change_quality(changed, reference, np.zeros(3, bool))


def test_a_map_without_change_has_no_precision() -> None:
    quality = change_quality(np.zeros(4, bool), np.array([1, 0, 0, 0], bool))
    assert (quality.precision, quality.recall, quality.f1, quality.kappa) == (0, 0, 0, 0)
