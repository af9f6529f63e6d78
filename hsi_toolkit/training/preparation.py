"""What precedes the network's training: features, the gate on context, experts and their soft labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.errors import LabelError, SceneError
from hsi_toolkit.models.experts import ExpertStack, SpectralFeatures
from hsi_toolkit.models.spatial_filter import SpatialFilter
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.gate import ContextGate, agreement, smoothing_gain
from hsi_toolkit.training.teachers import fit_discriminant, fit_experts, fit_features
from hsi_toolkit.training.windows import WindowSource

Index = NDArray[np.int64]

RADIUS = 4
# Sigma in pixels and amount of the two filters the gate chooses between; see SpatialFilter. Where pixels a
# radius apart agree, the mean of nearly the whole window is best.
SMOOTHING = (3.0, 0.0)
SHARPENING = (1.0, 2.0)
# A band is used if at least this share of the sampled pixels has it.
_BAND_COVER = 0.5
# Float32 values of raw windows in memory at a time.
_CHUNK_VALUES = 16_000_000


@dataclass(frozen=True)
class Pixels:
    """Pixels as the classifier's parts see them.

    ``windows`` (n, F, side, side) are components of the spectra as they are, ``filtered`` (n, bands) the
    spectra that the experts see; ``classes`` (n,) is -1 where unknown.
    """

    windows: Tensor
    filtered: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Prepared:
    """Everything the network's training starts from."""

    bands: Index
    spectral: SpectralFeatures
    experts: ExpertStack
    spatial_filter: SpatialFilter
    gate: ContextGate
    train: Pixels
    validation: Pixels
    unlabelled: Pixels
    soft_labels: Tensor


@dataclass(frozen=True)
class _Views:
    windows: Tensor
    plain: Tensor
    smooth: Tensor
    sharp: Tensor

    @property
    def complete(self) -> Tensor:
        """Pixels with a value in every used band."""
        return self.plain.isfinite().all(dim=1)

    def pixels(self, classes: Tensor, gate: ContextGate) -> Pixels:
        sharpened = torch.lerp(self.plain, self.sharp, gate.sharpening)
        return Pixels(self.windows, self.smooth if gate.context else sharpened, classes)

    def select(self, kept: Tensor) -> "_Views":
        return _Views(self.windows[kept], self.plain[kept], self.smooth[kept], self.sharp[kept])


@dataclass(frozen=True)
class LabelledPixels:
    """Rows, columns, classes (0 to K-1) and groups (polygons) of labelled pixels, each int64 (n,)."""

    rows: Index
    cols: Index
    classes: Index
    groups: Index

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, kept: NDArray[np.bool_] | Index) -> "LabelledPixels":
        """Only these pixels."""
        return LabelledPixels(self.rows[kept], self.cols[kept], self.classes[kept], self.groups[kept])


def prepare(
    source: WindowSource,
    train: LabelledPixels,
    validation: LabelledPixels,
    *,
    n_classes: int,
    n_unlabelled: int,
    seed: int,
    progress: Progress,
) -> Prepared:
    """Read the pixels, fit features and experts, and decide on context.

    Raises:
        SceneError: the scene has too few pixels or bands with data.
        LabelError: a class has no training pixel with data.
    """
    rows, cols = source.sample(n_unlabelled, seed)
    spectra = source.pixels(rows, cols)
    bands = usable_bands(spectra, source.good)
    complete = np.isfinite(spectra[:, bands]).all(axis=1)
    progress.check()
    spectral = fit_features(spectra[complete][:, bands])
    reader = _Reader(source, bands, spectral)
    unlabelled = reader.read(rows[complete], cols[complete], progress.part(0.1, 0.6))
    labelled = reader.read(train.rows, train.cols, progress.part(0.6, 0.8))
    held_out = reader.read(validation.rows, validation.cols, progress.part(0.8, 0.9))

    known = labelled.complete
    train, labelled = train.select(known.numpy()), labelled.select(known)
    _check_classes(train.classes, n_classes)
    known = held_out.complete
    validation, held_out = validation.select(known.numpy()), held_out.select(known)

    gate = ContextGate.decide(
        _agreement(labelled, train.classes, unlabelled, n_classes),
        *smoothing_gain(
            labelled.plain,
            labelled.smooth,
            train.classes,
            np.stack([train.rows, train.cols], axis=1),
            train.groups,
        ),
    )
    progress.check()
    targets = torch.from_numpy(train.classes)
    training = labelled.pixels(targets, gate)
    experts = fit_experts(training.filtered, spectral, train.classes, n_classes, seed)
    others = unlabelled.pixels(torch.full((len(unlabelled.plain),), -1), gate)
    soft = experts(others.filtered, spectral.with_shape(others.filtered)).exp()
    progress.report(1.0)
    return Prepared(
        bands,
        spectral,
        experts,
        _filter_of(gate),
        gate,
        training,
        held_out.pixels(torch.from_numpy(validation.classes), gate),
        others,
        soft,
    )


def _filter_of(gate: ContextGate) -> SpatialFilter:
    if gate.context:
        return SpatialFilter(*SMOOTHING, radius=RADIUS)
    sigma, amount = SHARPENING
    return SpatialFilter(sigma, 1.0 + gate.sharpening * (amount - 1.0), radius=RADIUS)


def usable_bands(spectra: NDArray[np.float32], good: NDArray[np.bool_]) -> Index:
    """Indices of the good bands that most of the sampled spectra (n, bands) have.

    Raises:
        SceneError: there is none.
    """
    bands = np.flatnonzero(good & (np.isfinite(spectra).mean(axis=0) >= _BAND_COVER))
    if not len(bands):
        raise SceneError("No band of the scene has data.", "Check its nodata value and bad-band list.")
    return bands.astype(np.int64)


class _Reader:
    """Reads windows chunk by chunk and keeps only what training needs of them."""

    def __init__(self, source: WindowSource, bands: Index, spectral: SpectralFeatures) -> None:
        self._source, self._bands, self._spectral = source, bands, spectral
        self._smoothing = SpatialFilter(*SMOOTHING, radius=RADIUS)
        self._sharpening = SpatialFilter(*SHARPENING, radius=RADIUS)

    def read(self, rows: Index, cols: Index, progress: Progress) -> _Views:
        side = 2 * RADIUS + 1
        chunk = max(1, _CHUNK_VALUES // (self._source.shape[0] * side**2))
        parts = []
        for start in range(0, max(1, len(rows)), chunk):
            progress.check()
            progress.report(start / max(1, len(rows)), "Reading windows")
            parts.append(self._chunk(rows[start : start + chunk], cols[start : start + chunk]))
        fields = ("windows", "plain", "smooth", "sharp")
        return _Views(*(torch.cat([getattr(part, field) for part in parts]) for field in fields))

    def _chunk(self, rows: Index, cols: Index) -> _Views:
        windows = torch.from_numpy(self._source.windows(rows, cols, RADIUS)[:, self._bands])
        components = self._spectral.components(windows.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        middle = components[:, :, RADIUS, RADIUS][:, :, None, None]
        return _Views(
            torch.where(components.isnan(), middle, components).contiguous(),
            windows[:, :, RADIUS, RADIUS],
            self._smoothing.centres(windows),
            self._sharpening.centres(windows),
        )


def _agreement(labelled: _Views, classes: Index, unlabelled: _Views, n_classes: int) -> float:
    """Kappa of the classes predicted for unlabelled pixels and for those a radius away from them."""
    middle = labelled.windows[:, :, RADIUS, RADIUS].double().numpy()
    expert = fit_discriminant(middle, classes, n_classes)
    ends = ((RADIUS, 0), (RADIUS, -1), (0, RADIUS), (-1, RADIUS))
    own = expert(unlabelled.windows[:, :, RADIUS, RADIUS]).argmax(dim=1).numpy()
    there = [expert(unlabelled.windows[:, :, y, x]).argmax(dim=1).numpy() for y, x in ends]
    return agreement(np.tile(own, len(ends)), np.concatenate(there), n_classes)


def _check_classes(classes: Index, n_classes: int) -> None:
    missing = np.flatnonzero(np.bincount(classes, minlength=n_classes) == 0)
    if len(missing):
        numbers = ", ".join(str(number + 1) for number in missing)
        raise LabelError(
            f"No training pixel with data is left of class number {numbers}.",
            "Draw its polygons where the scene has data, or leave the class out.",
        )
