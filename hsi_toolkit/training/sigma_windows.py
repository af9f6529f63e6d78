"""What HyperSIGMA's classifier is trained on: windows of whitened principal components."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from hsi_toolkit.errors import LabelError
from hsi_toolkit.models.hypersigma.window_classifier import PrincipalComponents
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.preparation import LabelledPixels, usable_bands
from hsi_toolkit.training.windows import WindowSource

COMPONENTS = 30
"""Principal components, as published; fewer where the scene has fewer bands."""

# Pixels from which the components are fitted.
_FITTED_ON = 50_000
# Values of windows that a run may hold, 1 GB in float32.
_MOST_VALUES = 250_000_000
_MOST_PER_CLASS = 2000
# Values of raw windows in memory at a time.
_CHUNK_VALUES = 16_000_000


class Geometry(NamedTuple):
    """Side of a window, side of a patch, and spectral tokens."""

    side: int
    patch: int
    tokens: int


PUBLISHED = Geometry(33, 2, 100)
LIGHT = Geometry(9, 2, 25)
"""For the small network: windows as wide as those of HSIMAE, a ninth of the published tokens."""


class Windows(NamedTuple):
    """Windows (n, components, side, side) of components, and their classes (n,)."""

    windows: Tensor
    classes: Tensor


class WindowReader:
    """Reads windows chunk by chunk and keeps their components."""

    def __init__(
        self,
        source: WindowSource,
        bands: NDArray[np.int64],
        spectral: PrincipalComponents,
        *,
        side: int,
        n_classes: int,
        seed: int,
    ) -> None:
        self._source, self._bands, self._spectral = source, bands, spectral
        self._radius, self._n_classes, self._seed = side // 2, n_classes, seed
        values = spectral.n_features * side**2 * n_classes
        self._most = max(1, min(_MOST_PER_CLASS, _MOST_VALUES // values))
        self._chunk = max(1, _CHUNK_VALUES // (source.shape[0] * side**2))

    def read(self, pixels: LabelledPixels, progress: Progress) -> Windows:
        """At most so many random pixels of each class that their windows fit into memory."""
        rng = np.random.default_rng(self._seed)
        kept = [
            rng.permutation(np.flatnonzero(pixels.classes == label))[: self._most]
            for label in range(self._n_classes)
        ]
        pixels = pixels.select(np.sort(np.concatenate(kept)))
        parts = []
        for start in range(0, max(1, len(pixels)), self._chunk):
            progress.check()
            progress.report(start / max(1, len(pixels)), "Reading windows")
            part = slice(start, start + self._chunk)
            parts.append(self._components(pixels.rows[part], pixels.cols[part]))
        windows = torch.cat(parts)
        known = ~windows[:, 0, self._radius, self._radius].isnan()
        return Windows(windows[known], torch.from_numpy(pixels.classes)[known])

    def _components(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Tensor:
        raw = torch.from_numpy(self._source.windows(rows, cols, self._radius)[:, self._bands])
        components = self._spectral.components(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        middle = components[:, :, self._radius, self._radius, None, None]
        return torch.where(components.isnan(), middle, components).contiguous()


def fit_components(
    source: WindowSource, seed: int, progress: Progress
) -> tuple[NDArray[np.int64], PrincipalComponents]:
    """The bands used and the whitened principal components of a sample of the scene's spectra."""
    progress.report(0.0, "Fitting principal components")
    spectra = source.pixels(*source.sample(_FITTED_ON, seed))
    progress.check()
    bands = usable_bands(spectra, source.good)
    spectra = spectra[:, bands]
    spectra = spectra[np.isfinite(spectra).all(axis=1)].astype(np.float64)
    count = min(COMPONENTS, len(bands), max(1, len(spectra) - 1))
    if len(spectra) < 2:
        raise LabelError("Fewer than two pixels of the scene have data.", "Check its nodata value.")
    pca = PCA(count, svd_solver="covariance_eigh").fit(spectra)
    # A component without variance would turn rounding errors into features.
    least = 1e-12 * max(float(pca.explained_variance_[0]), np.finfo(np.float64).tiny)
    scale = 1.0 / np.sqrt(np.maximum(pca.explained_variance_, least))
    matrix = pca.components_.T * np.where(pca.explained_variance_ > least, scale, 0.0)
    return bands, PrincipalComponents(_float(pca.mean_), _float(matrix))


def check_classes(classes: Tensor, n_classes: int) -> None:
    """Raise ``LabelError`` unless every class has a window."""
    missing = (torch.bincount(classes, minlength=n_classes) == 0).nonzero().flatten().tolist()
    if missing:
        raise LabelError(
            f"No training pixel with data is left of class number {', '.join(str(k + 1) for k in missing)}.",
            "Draw its polygons where the scene has data, or leave the class out.",
        )


def _float(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
