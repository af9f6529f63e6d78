"""Principal components of band segments, whitened: the features of both HSIMAE generations.

Each segment's PCA is the eigen-decomposition of a block of the one band covariance, so that fitting is one
streamed pass and its memory bands², however many pixels and segments there are.

The original code first maps the whole cube to 0…1 by its global minimum and maximum. Whitened components do
not change when all bands are shifted and scaled alike, so that step is left out.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.spectral.covariance import Matrix, StreamingCovariance, memory_order
from hsi_toolkit.spectral.parallel import map_blocks

Pixels = npt.NDArray[np.float32 | np.float64]
SignConvention = Literal["loading", "score"]

# Pixels transformed at a time: the centred copy stays in the cache.
_BLOCK = 4096


@dataclass(frozen=True)
class Segment:
    """Bands ``start`` to ``stop`` (exclusive) and the number of components taken from them."""

    start: int
    stop: int
    n_components: int


@dataclass(frozen=True)
class _Components:
    """Unit component vectors as columns (n_bands, n_features), their variances and sign rule."""

    vectors: Matrix
    variances: Matrix
    signs: SignConvention = "loading"

    def whitened(self) -> Matrix:
        """Columns that give scores of unit variance; zero for a component without variance."""
        factor = np.zeros_like(self.variances)
        np.divide(1.0, np.sqrt(self.variances), out=factor, where=self.variances > 0)
        return self.vectors * factor


class SegmentPCA(TransformerMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator):  # type: ignore[misc]
    """Whitened PCA of band segments; the base of ``GroupwisePCA`` and ``MultiScalePCA``.

    ``transform`` is ``(X - mean_) @ components_matrix_``, equal to ``X @ components_matrix_ + offset_`` where
    one matrix product is wanted and the data's offset does not exhaust the precision.
    """

    sign_convention: SignConvention
    covariance_: StreamingCovariance
    _components: _Components | None

    @abstractmethod
    def segments(self, n_bands: int) -> list[Segment]:
        """The segments of ``n_bands`` bands, in the order of their features.

        Raises:
            ParameterError: a parameter is out of range, or the bands are too few.
        """

    def fit(self, X: npt.ArrayLike, y: None = None) -> Self:
        """Fit on pixels ``X`` (n_pixels, n_bands); pixels with a value that is not finite are left out.

        Raises:
            ParameterError: a parameter is out of range, or the bands are too few.
            SceneError: a band has no valid value, or fewer than two pixels are valid.
        """
        pixels = self._validated(X, reset=True, min_samples=2)
        self.segments(pixels.shape[1])
        self.covariance_ = StreamingCovariance(pixels.shape[1])
        self.covariance_.update(pixels)
        self._components = None
        self._decomposed()
        return self.align_signs([pixels]) if self.sign_convention == "score" else self

    def partial_fit(self, X: npt.ArrayLike, y: None = None) -> Self:
        """Add a block of pixels ``X`` (n_pixels, n_bands) to those seen; components follow on first use.

        Raises:
            ParameterError: a parameter is out of range, or the bands are too few.
        """
        first = not hasattr(self, "covariance_")
        pixels = self._validated(X, reset=first)
        if first:
            self.segments(pixels.shape[1])
            self.covariance_ = StreamingCovariance(pixels.shape[1])
        self.covariance_.update(pixels)
        self._components = None
        return self

    def align_signs(self, blocks: Iterable[npt.ArrayLike]) -> Self:
        """Give every component the sign that makes its score of largest size positive.

        This is the second pass over the pixels that the convention ``"score"`` needs after ``partial_fit``.
        """
        check_is_fitted(self)
        components = self._decomposed()
        highest = np.zeros(len(components.variances))
        lowest = np.zeros(len(components.variances))
        for block in blocks:
            pixels = self._validated(block, reset=False)
            for start in range(0, len(pixels), _BLOCK):
                centred = pixels[start : start + _BLOCK].astype(np.float64) - self.mean_
                scores = centred @ components.vectors
                highest = np.fmax(highest, np.fmax.reduce(scores, axis=0))
                lowest = np.fmin(lowest, np.fmin.reduce(scores, axis=0))
        signs = np.where(-lowest > highest, -1.0, 1.0)
        self._components = _Components(components.vectors * signs, components.variances, "score")
        return self

    def transform(self, X: npt.ArrayLike) -> Pixels:
        """Features (n_pixels, n_features) of pixels ``X`` (n_pixels, n_bands), float32 for float32 pixels.

        All other pixels give float64. A pixel with a value that is not finite has no finite features. A
        component without variance, as of constant bands, is 0 everywhere.
        """
        check_is_fitted(self)
        pixels = self._validated(X, reset=False)
        dtype = _feature_dtype(pixels)
        matrix = self.components_matrix_.astype(dtype)
        features: Pixels = np.empty((len(pixels), matrix.shape[1]), dtype=dtype, order=memory_order(pixels))
        mean = self.mean_.astype(dtype)

        def project(block: slice) -> None:
            with np.errstate(invalid="ignore"):
                np.matmul(np.subtract(pixels[block], mean), matrix, out=features[block])

        for _ in map_blocks(project, [slice(i, i + _BLOCK) for i in range(0, len(pixels), _BLOCK)]):
            pass
        return features

    def inverse_transform(self, F: npt.ArrayLike) -> Pixels:
        """Spectra (n_pixels, n_bands) whose features are nearest to ``F`` (n_pixels, n_features).

        Where segments overlap, this is the least-squares spectrum of the unwhitened scores; where they
        do not, it is the exact projection on the components.
        """
        check_is_fitted(self)
        features = np.asarray(F)
        components = self._solved()
        back = np.linalg.pinv(components.vectors, rcond=1e-6) * np.sqrt(components.variances)[:, np.newaxis]
        spectra: Pixels = features @ back + self.mean_
        return spectra.astype(np.float32) if features.dtype == np.float32 else spectra

    @property
    def mean_(self) -> Matrix:
        """Mean spectrum (n_bands,)."""
        return self.covariance_.mean

    @property
    def explained_variance_(self) -> Matrix:
        """Variance of each component before whitening (n_features,), in the data's unit squared."""
        return self._solved().variances

    @property
    def components_(self) -> Matrix:
        """Unit component vectors as rows (n_features, n_bands), zero outside their segment."""
        return self._solved().vectors.T

    @property
    def components_matrix_(self) -> Matrix:
        """Whitened components as columns (n_bands, n_features)."""
        return self._solved().whitened()

    @property
    def offset_(self) -> Matrix:
        """What is added to ``X @ components_matrix_`` to give the features (n_features,)."""
        return -(self.mean_ @ self.components_matrix_)

    @property
    def n_samples_seen_(self) -> int:
        """Number of valid pixels fitted on."""
        return self.covariance_.n_pixels

    @property
    def _n_features_out(self) -> int:
        return sum(segment.n_components for segment in self.segments(self.n_features_in_))

    def _decomposed(self) -> _Components:
        """The components of all pixels seen so far, under either sign rule; decomposed on first use."""
        if self._components is None:
            self._components = _components(self.covariance_.covariance, self.segments(self.n_features_in_))
        return self._components

    def _solved(self) -> _Components:
        """The components of all pixels seen so far, under the sign rule asked for.

        Raises:
            ParameterError: that rule needs a second pass over the pixels, which has not been made.
        """
        check_is_fitted(self)
        components = self._decomposed()
        if components.signs != self.sign_convention:
            raise ParameterError(
                'The sign convention "score" needs a second pass over the pixels.',
                "Call align_signs with the same blocks after the last partial_fit.",
            )
        return components

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validated(self, X: npt.ArrayLike, *, reset: bool, min_samples: int = 0) -> npt.NDArray[np.generic]:
        pixels: npt.NDArray[np.generic] = validate_data(
            self, X, reset=reset, dtype="numeric", ensure_all_finite=False, ensure_min_samples=min_samples
        )
        return pixels


class GroupwisePCA(SegmentPCA):
    """GWPCA of HSIMAE v2: equal groups of bands, each with its share of the components.

    The bands are halved until there are ``groups`` segments in spectral order; an odd band goes to the
    second half (103 bands: 25, 26, 26, 26). Feature k * (n_components / groups) + j is component j of
    segment k.

    ``sign_convention`` settles what PCA leaves open: ``"loading"`` makes the largest loading of each vector
    positive (scikit-learn since 1.5), ``"score"`` the largest score (scikit-learn 1.3, with which the
    published weights were trained).
    """

    def __init__(
        self, n_components: int = 32, *, groups: int = 4, sign_convention: SignConvention = "loading"
    ) -> None:
        self.n_components = n_components
        self.groups = groups
        self.sign_convention = sign_convention

    def segments(self, n_bands: int) -> list[Segment]:
        """``groups`` segments of equal component count; see ``SegmentPCA.segments``."""
        if self.groups < 1 or self.groups & (self.groups - 1):
            raise ParameterError(f"groups is {self.groups}.", "Choose a power of two.")
        if self.n_components < 1 or self.n_components % self.groups:
            raise ParameterError(
                f"n_components is {self.n_components}.", f"Choose a multiple of the {self.groups} groups."
            )
        _check_sign_convention(self.sign_convention)
        _check_bands(self, n_bands, self.n_components)
        share = self.n_components // self.groups
        bounds = _halved([(0, n_bands)], times=self.groups.bit_length() - 1)
        return [Segment(start, stop, share) for start, stop in bounds]


class MultiScalePCA(SegmentPCA):
    """MS-PCA of HSIMAE v1: the whole spectrum, its halves, quarters and eighths, each with its own PCA.

    Every one of the ``levels`` gives ``n_components / levels`` features; for the published 64 these are 16
    components of all bands, 8 of each half, 4 of each quarter and 2 of each eighth. Features run level by
    level, within a level in spectral order. ``sign_convention`` is that of ``GroupwisePCA``.
    """

    def __init__(
        self, n_components: int = 64, *, levels: int = 4, sign_convention: SignConvention = "loading"
    ) -> None:
        self.n_components = n_components
        self.levels = levels
        self.sign_convention = sign_convention

    def segments(self, n_bands: int) -> list[Segment]:
        """1 + 2 + 4 + … segments over ``levels`` levels; see ``SegmentPCA.segments``."""
        if self.levels < 1:
            raise ParameterError(f"levels is {self.levels}.", "Choose at least 1.")
        finest = self.levels * 2 ** (self.levels - 1)
        if self.n_components < 1 or self.n_components % finest:
            raise ParameterError(
                f"n_components is {self.n_components}.",
                f"Choose a multiple of {finest}, so that all {self.levels} levels get whole components.",
            )
        _check_sign_convention(self.sign_convention)
        per_level = self.n_components // self.levels
        _check_bands(self, n_bands, per_level)
        segments: list[Segment] = []
        for level in range(self.levels):
            bounds = _halved([(0, n_bands)], times=level)
            segments += [Segment(start, stop, per_level // 2**level) for start, stop in bounds]
        return segments


def _feature_dtype(pixels: npt.NDArray[np.generic]) -> type[np.float32] | type[np.float64]:
    return np.float32 if pixels.dtype == np.float32 else np.float64


def _components(covariance: Matrix, segments: list[Segment]) -> _Components:
    """The leading eigenvectors of each segment's block of the covariance, the largest loading positive."""
    vectors, variances = [], []
    for segment in segments:
        size, count = segment.stop - segment.start, segment.n_components
        block = covariance[segment.start : segment.stop, segment.start : segment.stop]
        values, columns = eigh(block, subset_by_index=[size - count, size - 1])
        values, columns = values[::-1], columns[:, ::-1]
        # Below the rounding of the largest there is no variance but the arithmetic's own.
        real = values > size * np.finfo(np.float64).eps * values[0]
        largest = columns[np.abs(columns).argmax(axis=0), np.arange(count)]
        full = np.zeros((len(covariance), count))
        full[segment.start : segment.stop] = columns * np.where(largest < 0, -1.0, 1.0) * real
        vectors.append(full)
        variances.append(values * real)
    return _Components(np.hstack(vectors), np.concatenate(variances))


def _halved(bounds: list[tuple[int, int]], *, times: int) -> list[tuple[int, int]]:
    """Each (start, stop) halved ``times`` times, in order; the second half takes the odd band."""
    for _ in range(times):
        bounds = [
            half
            for start, stop in bounds
            for half in ((start, (start + stop) // 2), ((start + stop) // 2, stop))
        ]
    return bounds


def _check_bands(estimator: SegmentPCA, n_bands: int, needed: int) -> None:
    if n_bands < needed:
        raise ParameterError(
            f"{estimator!r} needs at least {needed} bands, but there are {n_bands}.",
            "Use fewer components or a scene with more bands.",
        )


def _check_sign_convention(convention: str) -> None:
    if convention not in get_args(SignConvention):
        raise ParameterError(
            f"sign_convention is {convention!r}.", f"Choose one of {', '.join(get_args(SignConvention))}."
        )
