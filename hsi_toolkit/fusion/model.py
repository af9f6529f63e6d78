"""What ties a scene to its guide, learnt from the pair itself at the scene's resolution.

The sensors' response functions are seldom known and never exact, so everything is estimated: the scene's
subspace, the guide's bands as a linear function of it, the subspace as a linear function of the guide's
bands (component substitution, Aiazzi et al. 2007), and the width of the point spread function, at which
the guide explains the scene best.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from hsi_toolkit.errors import SceneError
from hsi_toolkit.fusion.grids import GridPair
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import iter_blocks
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.spectral import StreamingCovariance

Float64 = NDArray[np.float64]

#: Widths of the point spread function that are tried, in scene pixels: a box pixel is near 0.3, optics
#: with a half-value width of a pixel 0.42, blurred scanners up to 0.8.
WIDTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)
MOST_COMPONENTS = 24
#: A component whose variance is below twice the noise's carries more noise than signal.
_SIGNAL = 2.0
#: Smallest variance of what the guide does not explain of a component, whose noise has one.
_LEAST_PRIOR = 0.01
#: Guide lines read beyond a block, in scene pixels, for the widest function.
MARGIN = 4


@dataclass(frozen=True, eq=False)
class FusionModel:
    """The fitted tie; ``k`` components, ``m`` guide bands.

    Attributes:
        mean: (bands,) mean spectrum.
        noise: (bands,) standard deviation of the scene's noise.
        projection: (bands, k) coefficients from centred spectra, in which noise has unit variance.
        basis: (bands, k) centred spectra from coefficients.
        width: standard deviation of the point spread function in scene pixels.
        forward, forward_offset: (m, k), (m,) the guide's bands from the coefficients.
        detail: (k, m) the coefficients from the guide's bands, for what is finer than the scene.
        guide_variance: (m,) what ``forward`` leaves unexplained.
        prior_variance: (k,) what ``detail`` leaves unexplained.
        guide_explained: (m,) share of each guide band's variance that the scene explains, 0 to 1.
    """

    mean: Float64
    noise: Float64
    projection: Float64
    basis: Float64
    width: float
    forward: Float64
    forward_offset: Float64
    detail: Float64
    guide_variance: Float64
    prior_variance: Float64
    guide_explained: Float64

    @property
    def components(self) -> int:
        """How many components the scene's signal has."""
        return int(self.basis.shape[1])

    @classmethod
    def fit(
        cls,
        scene: xr.DataArray,
        guide: xr.DataArray,
        grids: GridPair,
        *,
        memory_limit: int | None = None,
        progress: Progress | None = None,
    ) -> "FusionModel":
        """Fit it in two passes over the scene; memory does not grow with either image.

        Args:
            scene: (band, y, x) the good bands.
            guide: (band, y, x) the part that lies over the scene (``GridPair.guide_rows`` and ``_cols``).

        Raises:
            SceneError: fewer pixels have data in both than there are unknowns.
        """
        progress = progress or Progress()
        subspace = _subspace(scene, memory_limit, progress.part(0.0, 0.4))
        ties = _Ties(subspace.basis.shape[1], guide.sizes["band"])
        height, across = scene.sizes["y"], [grids.cols.sparse_blur(width) for width in WIDTHS]
        for block in iter_blocks(scene, memory_limit=memory_limit):
            progress.check()
            ties.add(block.core, _blurred(guide, grids, across, block.y0, block.y1), subspace)
            progress.report(0.4 + 0.6 * block.y1 / height, "Learning how the guide sees the scene")
        return ties.solve(subspace)


@dataclass(frozen=True, eq=False)
class _Subspace:
    mean: Float64
    noise: Float64
    projection: Float64
    basis: Float64


def _subspace(scene: xr.DataArray, memory_limit: int | None, progress: Progress) -> _Subspace:
    """The components of the scene whitened by its noise.

    A band's noise is what the other bands do not explain of it (Bioucas-Dias and Nascimento 2008, HySime),
    whose variance is the inverse of the diagonal of the inverse covariance.
    """
    covariance = StreamingCovariance(scene.sizes["band"])
    for block in iter_blocks(scene, memory_limit=memory_limit):
        progress.check()
        covariance.update(block.core.reshape(len(block.core), -1).T)
        progress.report(block.y1 / scene.sizes["y"], "Finding the scene's components")
    matrix, bands, pixels = covariance.covariance, scene.sizes["band"], covariance.n_pixels
    ridge = 1e-9 * np.trace(matrix) / bands * np.eye(bands)
    variance = 1 / np.diag(np.linalg.inv(matrix + ridge))
    # The regression on the other bands has used up as many degrees of freedom as there are.
    variance *= pixels / max(pixels - bands, 0.1 * pixels)
    noise = np.sqrt(variance)
    values, vectors = np.linalg.eigh(matrix / np.outer(noise, noise))
    values, vectors = values[::-1], vectors[:, ::-1]
    count = int(np.clip((values > _SIGNAL).sum(), 1, MOST_COMPONENTS))
    kept = vectors[:, :count]
    return _Subspace(covariance.mean, noise, kept / noise[:, None], kept * noise[:, None])


def _blurred(
    guide: xr.DataArray, grids: GridPair, across: list[sparse.csr_array], y0: int, y1: int
) -> list[Float64]:
    """The guide as the scene's pixels of rows ``y0`` to ``y1`` see it, (m, rows, cols) for each width.

    ``across`` has the blur along the rows for each width.
    """
    top, bottom = max(0, y0 - MARGIN), min(grids.rows.coarse, y1 + MARGIN)
    fine = grids.rows.fine_slice(slice(top, bottom))
    part = grids.rows.part(slice(top, bottom), fine)
    image = values_of(guide.isel(y=fine))
    known = np.asarray(np.isfinite(image).all(axis=0))
    layers = np.concatenate([np.where(known, image, 0), known[None]]).astype(np.float64)
    pictures = []
    for width, over in zip(WIDTHS, across, strict=True):
        *image_sums, seen = _applied(part.sparse_blur(width), layers, over)[:, y0 - top : y1 - top]
        with np.errstate(invalid="ignore", divide="ignore"):
            pictures.append(np.where(seen > 0.99, np.stack(image_sums) / seen, np.nan))
    return pictures


def _applied(down: sparse.csr_array, images: Float64, across: sparse.csr_array) -> Float64:
    """``down @ image @ across.T`` of each of (n, rows, cols) images."""
    count, rows, cols = images.shape
    low = down @ images.transpose(1, 0, 2).reshape(rows, -1)
    both = across @ low.reshape(-1, cols).T
    result: Float64 = both.T.reshape(-1, count, both.shape[0]).transpose(1, 0, 2)
    return result


class _Ties:
    """Joint moments of the coefficients and the guide blurred by each width."""

    def __init__(self, components: int, bands: int) -> None:
        self._components = components
        self._moments = [StreamingCovariance(components + bands) for _ in WIDTHS]

    def add(self, data: NDArray[np.float32], pictures: list[Float64], subspace: _Subspace) -> None:
        coefficients = (data.reshape(len(data), -1).T - subspace.mean) @ subspace.projection
        known = np.isfinite(coefficients).all(axis=1)
        for moments, picture in zip(self._moments, pictures, strict=True):
            seen = picture.reshape(len(picture), -1).T
            both = known & np.isfinite(seen).all(axis=1)
            moments.update(np.concatenate([coefficients[both], seen[both]], axis=1))

    def solve(self, subspace: _Subspace) -> FusionModel:
        least, bands = min(each.n_pixels for each in self._moments), len(self._moments[0].mean)
        if least < 4 * bands:
            raise SceneError(
                f"Only {least} pixels have data in both the scene and the guide.",
                "Give images that overlap more.",
            )
        errors = [self._unexplained(each.covariance) for each in self._moments]
        best = int(np.argmin(errors))
        joint, centre = self._moments[best].covariance, self._moments[best].mean
        k = self._components
        scene, cross, guide = joint[:k, :k], joint[:k, k:], joint[k:, k:]
        forward = _ridge(scene, cross).T
        detail = _ridge(guide, cross.T).T
        guide_variance = np.diag(guide - forward @ cross)
        prior_variance = np.diag(scene - detail @ cross.T)
        return FusionModel(
            subspace.mean,
            subspace.noise,
            subspace.projection,
            subspace.basis,
            WIDTHS[best],
            forward,
            centre[k:] - forward @ centre[:k],
            detail,
            np.maximum(guide_variance, 1e-6 * np.diag(guide) + np.finfo(float).tiny),
            np.maximum(prior_variance - 1.0, _LEAST_PRIOR),
            1 - np.clip(guide_variance / np.maximum(np.diag(guide), np.finfo(float).tiny), 0, 1),
        )

    def _unexplained(self, joint: Float64) -> float:
        """Share of the guide's variance that the scene does not explain, the mean over its bands."""
        k = self._components
        scene, cross, guide = joint[:k, :k], joint[:k, k:], joint[k:, k:]
        left = np.diag(guide) - np.einsum("km,km->m", cross, _ridge(scene, cross))
        return float(np.mean(left / np.maximum(np.diag(guide), np.finfo(float).tiny)))


def _ridge(covariance: Float64, cross: Float64) -> Float64:
    """Regression coefficients, (inputs, outputs), with a trace of ridge against collinear inputs."""
    ridge = 1e-8 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    solution: Float64 = np.linalg.solve(covariance + ridge, cross)
    return solution
