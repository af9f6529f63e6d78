"""How close one cube is to another: PSNR, SSIM, spectral angle, ERGAS, and matching of unordered bands."""

from hsi_toolkit.quality.matching import BandMoments, match_spectra, spectral_angles
from hsi_toolkit.quality.metrics import CubeComparison, CubeQuality, pixel_angles

__all__ = [
    "BandMoments",
    "CubeComparison",
    "CubeQuality",
    "match_spectra",
    "pixel_angles",
    "spectral_angles",
]
