"""A network size small enough for tests."""

import pytest

from hsi_toolkit.models.hypersigma.encoders import TransformerSize


@pytest.fixture
def tiny() -> TransformerSize:
    """Four blocks of 24 channels."""
    return TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))
