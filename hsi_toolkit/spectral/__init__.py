"""Transforms along the band axis."""

from hsi_toolkit.spectral.covariance import StreamingCovariance
from hsi_toolkit.spectral.pca import GroupwisePCA, MultiScalePCA

__all__ = ["GroupwisePCA", "MultiScalePCA", "StreamingCovariance"]
