"""From the bands of one sensor to those of another, and whether a scene has the bands a model wants."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import xarray as xr

from hsi_toolkit.errors import SceneError

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

# Full width at half maximum of a Gaussian in standard deviations, 2 sqrt(2 ln 2).
_FWHM_TO_SIGMA = 1 / 2.3548200450309493

# A response function is integrated over three standard deviations on either side, at this many points.
_QUADRATURE_SIGMAS = 3.0
_QUADRATURE_POINTS = 49

# Source bands further apart than this (nm), and than four target spacings, leave a hole between them that
# interpolation must not paper over: a dropped bad band or two is 20 to 30 nm, a water-vapour window 100.
_LARGEST_GAP = 40.0

# What a response function is below this share of its largest value does not have to be covered.
_NEGLIGIBLE = 0.02

# Centres within a tenth of the band's width are the same band: smile and scene-to-scene calibration stay
# below that, the next band of any imaging spectrometer does not.
_SAME_BAND_WIDTHS = 0.1
_SAME_BAND_NM = 0.5


class CoverageError(SceneError):
    """The source's bands do not cover the target's; ``missing`` are the ranges in nanometres."""

    def __init__(self, problem: str, remedy: str, missing: tuple[tuple[float, float], ...]) -> None:
        super().__init__(problem, remedy)
        self.missing = missing

    @property
    def ranges(self) -> str:
        """The missing ranges in words."""
        return " and ".join(f"{low:.0f} to {high:.0f} nm" for low, high in self.missing)


@dataclass(frozen=True)
class SensorBands:
    """The bands a model was fitted on.

    Attributes:
        scene_bands: number of bands of the scene it was fitted on.
        used: positions (from 0) of the used ones in that scene, ascending.
        wavelength: centres of the used bands in nanometres, None when the scene had none.
        fwhm: their full widths at half maximum in nanometres, None when unknown.
    """

    scene_bands: int
    used: tuple[int, ...]
    wavelength: tuple[float, ...] | None = None
    fwhm: tuple[float, ...] | None = None

    @classmethod
    def of_scene(cls, scene: xr.DataArray) -> Self:
        """The good bands of ``scene``."""
        used = np.flatnonzero(_good(scene))
        centres, widths = _coordinate(scene, "wavelength"), _coordinate(scene, "fwhm")
        return cls(
            scene_bands=scene.sizes["band"],
            used=tuple(used.tolist()),
            wavelength=None if centres is None else tuple(centres[used].tolist()),
            fwhm=None if widths is None else tuple(widths[used].tolist()),
        )

    def __len__(self) -> int:
        return len(self.used)


@dataclass(frozen=True)
class BandPlan:
    """How to get a model's bands from a scene.

    Attributes:
        bands: positions (from 0) of the scene's bands to read, in this order.
        matrix: (len(bands), model bands) float32 that resamples them, or None when they are the model's.
        note: what the user should know, one sentence; empty when the scene is of the model's own sensor.
    """

    bands: tuple[int, ...]
    matrix: Matrix | None = None
    note: str = ""

    def apply(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The model's bands (model bands, ...) of ``values`` (len(bands), ...), the scene's ``bands``.

        NaN in a pixel stays in that pixel.
        """
        if self.matrix is None:
            return values
        flat = self.matrix.T @ values.reshape(len(values), -1)
        resampled: npt.NDArray[np.float32] = flat.reshape(-1, *values.shape[1:])
        return resampled


def resampling_matrix(
    source_nm: npt.ArrayLike,
    target_nm: npt.ArrayLike,
    target_fwhm: npt.ArrayLike | None = None,
    *,
    source_fwhm: npt.ArrayLike | None = None,
) -> Matrix:
    """The matrix that turns spectra (..., n_source) into spectra (..., n_target) by a product.

    The spectrum is taken as linear between the source's centres. Without ``target_fwhm`` it is read at the
    target's centres; with it, it is weighted with Gaussian responses of that width. What the source has
    blurred already is not blurred again: with ``source_fwhm`` the response's variance is reduced by the
    source's. Every column sums to 1.

    Args:
        source_nm: (n_source,) band centres in nanometres, in any order.
        target_nm: (n_target,) band centres in nanometres, in any order.
        target_fwhm: (n_target,) full widths at half maximum in nanometres.
        source_fwhm: (n_source,) the source's.

    Returns:
        (n_source, n_target) float32.

    Raises:
        CoverageError: the source does not cover the target's centres, or has a hole where they lie.
        SceneError: a wavelength is no positive number.
    """
    source = _centres(source_nm)
    target = _centres(target_nm)
    centres, first = np.unique(source, return_index=True)
    _check_coverage(centres, target)
    positions, weights = target[:, None], np.ones((len(target), 1))
    if target_fwhm is not None:
        sigma = np.asarray(target_fwhm, np.float64) * _FWHM_TO_SIGMA
        if source_fwhm is not None:
            blurred = np.interp(target, centres, np.asarray(source_fwhm, np.float64)[first]) * _FWHM_TO_SIGMA
            sigma = np.sqrt(np.maximum(sigma**2 - blurred**2, 0.0))
        nodes = np.linspace(-_QUADRATURE_SIGMAS, _QUADRATURE_SIGMAS, _QUADRATURE_POINTS)
        positions = target[:, None] + sigma[:, None] * nodes
        gaussian = np.exp(-0.5 * nodes**2)
        weights = np.broadcast_to(gaussian / gaussian.sum(), positions.shape)
    return _matrix(len(source), centres, first, positions, weights)


def response_matrix(source_nm: npt.ArrayLike, grid_nm: npt.ArrayLike, responses: npt.ArrayLike) -> Matrix:
    """The matrix that turns spectra (..., n_source) into what bands of given response functions see.

    The spectrum is taken as linear between the source's centres and integrated with each response, which is
    linear between its own points; every column sums to 1.

    Args:
        source_nm: (n_source,) band centres in nanometres, in any order.
        grid_nm: (points,) wavelengths of the responses, ascending.
        responses: (points, n_target) not negative, in any unit.

    Returns:
        (n_source, n_target) float32.

    Raises:
        CoverageError: the source does not cover a response where it matters.
        SceneError: a wavelength is no positive number.
    """
    source, grid = _centres(source_nm), _centres(grid_nm)
    values = np.asarray(responses, np.float64)
    centres, first = np.unique(source, return_index=True)
    nodes = np.union1d(grid, centres[(centres > grid[0]) & (centres < grid[-1])])
    at_nodes = np.stack([np.interp(nodes, grid, column) for column in values.T])
    steps = np.gradient(nodes) if len(nodes) > 1 else np.ones(1)
    # Trapezoids: half of both neighbouring steps, at the ends half of the only one.
    steps[[0, -1]] *= 0.5
    weights = at_nodes * steps
    total = weights.sum(axis=1, keepdims=True)
    mattering = at_nodes > _NEGLIGIBLE * at_nodes.max(axis=1, keepdims=True)
    _check_coverage(centres, nodes[mattering.any(axis=0)])
    positions = np.broadcast_to(nodes, weights.shape)
    return _matrix(len(source), centres, first, positions, weights / total)


def covered(source_nm: npt.ArrayLike, low_nm: npt.ArrayLike, high_nm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(n,) whether bands from ``low_nm`` to ``high_nm`` each lie within the source and in no hole of it."""
    centres = np.unique(_centres(source_nm))
    fine = []
    for low, high in zip(np.atleast_1d(low_nm), np.atleast_1d(high_nm), strict=True):
        try:
            _check_coverage(centres, np.linspace(float(low), float(high), 5))
        except CoverageError:
            fine.append(False)
        else:
            fine.append(True)
    return np.array(fine, bool)


def _matrix(
    count: int, centres: Floats, first: npt.NDArray[np.intp], positions: Floats, weights: Floats
) -> Matrix:
    """(count, targets) weights of the source's bands for weighted ``positions`` (targets, nodes)."""
    matrix = np.zeros((count, len(positions)))
    left, fraction = _bracket(centres, positions)
    columns = np.broadcast_to(np.arange(len(positions))[:, None], positions.shape)
    np.add.at(matrix, (first[left], columns), weights * (1 - fraction))
    np.add.at(matrix, (first[np.minimum(left + 1, len(centres) - 1)], columns), weights * fraction)
    return matrix.astype(np.float32)


def plan_bands(model: SensorBands, scene: xr.DataArray) -> BandPlan:
    """How ``scene`` gives the bands of ``model``: as they are, by position, or resampled.

    Bands whose centres agree within a tenth of their width are taken as they are. Where the scene calls
    some of them bad, or has other centres, its good bands are resampled to the model's. Where the scene or
    the model has no wavelengths, bands are taken by position if their number is right.

    Raises:
        SceneError: the scene cannot give the model's bands; the sentence names what is missing.
    """
    centres = _coordinate(scene, "wavelength")
    if model.wavelength is None or centres is None:
        return _by_position(model, scene, "scene" if centres is None else "model")
    wanted = np.asarray(model.wavelength)
    good = _good(scene)
    found = _same_bands(model, centres)
    if found is not None and good[found].all():
        return BandPlan(tuple(found.tolist()))
    usable = np.flatnonzero(good)
    if len(usable) == 0:
        raise SceneError(
            f"All {len(good)} bands of the scene are marked bad.", "Correct its list of bad bands."
        )
    widths = _coordinate(scene, "fwhm")
    matrix = resampling_matrix(
        centres[usable],
        wanted,
        model.fwhm,
        source_fwhm=None if widths is None else widths[usable],
    )
    needed = np.flatnonzero(matrix.any(axis=1))
    return BandPlan(
        tuple(usable[needed].tolist()), matrix[needed], _resampling_note(scene, wanted, found, good)
    )


def _by_position(model: SensorBands, scene: xr.DataArray, without: str) -> BandPlan:
    count = scene.sizes["band"]
    note = f"The {without} has no wavelengths: its bands are taken by their position."
    if count == model.scene_bands:
        return BandPlan(model.used, note=note)
    if count == len(model.used):
        return BandPlan(tuple(range(count)), note=note)
    wants = f"{len(model.used)}"
    if model.scene_bands != len(model.used):
        wants += f" of {model.scene_bands}"
    raise SceneError(
        f"The scene has {count} bands, the model wants {wants}, and the {without} has no wavelengths to "
        "match them by.",
        "Use a scene of the model's sensor, or add the wavelengths to its header."
        if without == "scene"
        else "Use a scene of the model's sensor.",
    )


def _resampling_note(
    scene: xr.DataArray, wanted: Floats, found: npt.NDArray[np.intp] | None, good: npt.NDArray[np.bool_]
) -> str:
    if found is None:
        return (
            f"The scene's {scene.sizes['band']} bands are resampled to the model's {len(wanted)} "
            f"({wanted.min():.0f} to {wanted.max():.0f} nm)."
        )
    bad = int((~good[found]).sum())
    return f"{bad} of the model's {len(found)} bands are bad in this scene and come from their neighbours."


def _same_bands(model: SensorBands, centres: Floats) -> npt.NDArray[np.intp] | None:
    """Positions in ``centres`` of the model's bands, or None where one has no counterpart."""
    wanted = np.asarray(model.wavelength)
    width = np.asarray(model.fwhm) if model.fwhm is not None else _spacing(wanted)
    tolerance = np.maximum(_SAME_BAND_NM, _SAME_BAND_WIDTHS * width)
    # Spectrometers with overlapping detectors have two bands of nearly one centre: position decides there.
    if len(centres) == model.scene_bands:
        used = np.asarray(model.used, dtype=np.intp)
        if np.all(np.abs(centres[used] - wanted) <= tolerance):
            return used
    nearest = np.abs(centres[:, None] - wanted).argmin(axis=0)
    close = np.abs(centres[nearest] - wanted) <= tolerance
    return nearest if close.all() and len(np.unique(nearest)) == len(nearest) else None


def _check_coverage(centres: Floats, target: Floats) -> None:
    """Refuse targets outside the source, beyond half a source band, and in holes of it."""
    low, high = float(target.min()), float(target.max())
    first, last = float(centres[0]), float(centres[-1])
    remedy = "Use a model for this sensor's range, or a scene that covers the model's."
    margin = 0.5 * float(np.median(_spacing(centres))) if len(centres) > 1 else _SAME_BAND_NM
    missing = [
        (start, stop)
        for start, stop, short in (
            (low, min(first, high), low < first - margin),
            (max(last, low), high, high > last + margin),
        )
        if short
    ]
    if missing:
        ranges = " and ".join(f"{start:.0f} to {stop:.0f} nm" for start, stop in missing)
        raise CoverageError(
            f"The good bands of the scene reach from {first:.0f} to {last:.0f} nm, and {ranges} are missing.",
            remedy,
            tuple(missing),
        )
    gaps = np.diff(centres)
    allowed = max(_LARGEST_GAP, 4 * float(np.median(_spacing(target)))) if len(target) > 1 else _LARGEST_GAP
    for index in np.flatnonzero(gaps > allowed):
        inside = (target > centres[index] + margin) & (target < centres[index + 1] - margin)
        if inside.any():
            raise CoverageError(
                f"The scene has no good band between {centres[index]:.0f} and {centres[index + 1]:.0f} nm, "
                f"where {int(inside.sum())} are wanted.",
                remedy,
                ((float(centres[index]), float(centres[index + 1])),),
            )


def _bracket(centres: Floats, positions: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """The index of the centre to the left of each position and how far it lies towards the next (0 to 1)."""
    if len(centres) == 1:
        return np.zeros(positions.shape, dtype=np.intp), np.zeros(positions.shape)
    left = np.clip(np.searchsorted(centres, positions, side="right") - 1, 0, len(centres) - 2)
    fraction = (positions - centres[left]) / (centres[left + 1] - centres[left])
    return left, np.clip(fraction, 0.0, 1.0)


def _spacing(centres: Floats) -> Floats:
    """Distance of each band to its nearest neighbour in nanometres; infinite for a single one."""
    order = np.argsort(centres)
    steps = np.concatenate([[np.inf], np.diff(centres[order]), [np.inf]])
    spacing = np.empty(len(centres))
    spacing[order] = np.minimum(steps[:-1], steps[1:])
    return spacing


def _centres(values: npt.ArrayLike) -> Floats:
    centres = np.asarray(values, np.float64).reshape(-1)
    if len(centres) == 0 or not np.isfinite(centres).all() or (centres <= 0).any():
        raise SceneError(
            "Wavelengths that are missing or not positive numbers cannot be resampled.",
            "Correct the wavelengths in the header.",
        )
    return centres


def _coordinate(scene: xr.DataArray, name: str) -> Floats | None:
    if name not in scene.coords:
        return None
    values: Floats = np.asarray(scene.coords[name].values, np.float64)
    return values


def _good(scene: xr.DataArray) -> npt.NDArray[np.bool_]:
    if "good" not in scene.coords:
        return np.ones(scene.sizes["band"], bool)
    good: npt.NDArray[np.bool_] = np.asarray(scene.coords["good"].values, bool)
    return good
