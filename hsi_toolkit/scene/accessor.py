"""``scene.hsi``: what one wants to ask a scene by wavelength."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.scene.blocks import iter_blocks, values_of

NATURAL_COLOUR_NM = (660.0, 560.0, 480.0)
"""Red, green and blue as Landsat and Sentinel-2 show them."""

NATURAL_COLOUR_REACH_NM = 60.0
"""A band further off than this does not count as red, green or blue."""

STRETCH_SIDE = 512
"""Rows and columns, at most, that the contrast stretch is measured on."""


@xr.register_dataarray_accessor("hsi")  # type: ignore[no-untyped-call]  # untyped in xarray
class HsiAccessor:
    """Wavelengths, bands and colours of a scene (band, y, x)."""

    def __init__(self, scene: xr.DataArray) -> None:
        self._scene = scene

    @property
    def wavelength(self) -> NDArray[np.float64]:
        """Band centres in nanometres, (bands,). Raises SceneError when the scene has none."""
        if "wavelength" not in self._scene.coords:
            raise SceneError(
                f"{self._scene.attrs.get('source', 'The scene')} has no wavelengths.",
                "Add them to its header or tags.",
            )
        return np.atleast_1d(self._scene["wavelength"].to_numpy())

    @property
    def good_bands(self) -> xr.DataArray:
        """The scene without the bands its file calls bad, still lazy."""
        if "good" not in self._scene.coords:
            return self._scene
        return self._scene.isel(band=np.flatnonzero(self._scene["good"].to_numpy()))

    def sel_wavelength(self, nm: float | Sequence[float], tolerance: float | None = None) -> xr.DataArray:
        """The bands nearest to wavelengths, still lazy; one number drops the band dimension.

        Args:
            nm: one or several wavelengths in nanometres.
            tolerance: how far a band may be off, in nanometres; None for any distance.

        Raises:
            SceneError: the scene has no wavelengths, or none within ``tolerance``.
        """
        centres = self.wavelength
        wanted = np.asarray(nm, dtype=np.float64)
        distance = np.abs(centres - wanted[..., None])
        nearest = distance.argmin(axis=-1)
        off = np.atleast_1d(distance.min(axis=-1))
        if tolerance is not None and off.max() > tolerance:
            worst = np.atleast_1d(wanted)[off.argmax()]
            raise SceneError(
                f"No band lies within {tolerance:g} nm of {worst:g} nm; the nearest is "
                f"{centres[np.abs(centres - worst).argmin()]:g} nm.",
                "Widen the tolerance or choose another wavelength.",
            )
        return self._scene.isel(band=int(nearest) if wanted.ndim == 0 else nearest)

    def rgb(
        self, percentiles: tuple[float, float] = (2.0, 98.0), max_size: int | None = None
    ) -> xr.DataArray:
        """A colour picture, (y, x, 3) uint8, stretched between two percentiles; 0 without data.

        Reflectance is stretched alike in all channels, so that grey stays grey; radiance and plain numbers,
        in which blue light and the sensor's gains would tint everything, channel by channel. Natural colour
        by wavelength (660, 560, 480 nm); where the scene has no wavelengths or does not see these colours,
        three bands spread over its good ones, the last in red.

        Args:
            percentiles: what becomes black and full brightness, measured on at most 512 x 512 pixels.
            max_size: longest side of the picture; larger scenes are thinned out. None: full resolution.

        Raises:
            ParameterError: the percentiles do not ascend within 0 to 100.
            SceneError: the scene cannot be read.
        """
        low, high = percentiles
        if not 0 <= low < high <= 100 or (max_size is not None and max_size < 1):
            raise ParameterError(
                f"Percentiles {low:g} and {high:g} with size {max_size} make no picture.",
                "Give ascending percentiles within 0 to 100 and a positive size.",
            )
        chosen = self._scene.isel(band=self._colour_bands())
        sample = values_of(_thinned(chosen, STRETCH_SIDE))
        if self._scene.attrs.get("quantity") == "reflectance":
            limits = [_stretch(sample, low, high)] * len(sample)
        else:
            limits = [_stretch(channel, low, high) for channel in sample]
        shown = chosen if max_size is None else _thinned(chosen, max_size)
        picture = np.zeros((shown.sizes["y"], shown.sizes["x"], 3), np.uint8)
        for block in iter_blocks(shown):
            for channel, (dark, gain) in enumerate(limits):
                values = np.clip((block.data[channel] - dark) * gain, 0, 255)
                picture[block.y0 : block.y1, :, channel] = np.nan_to_num(values, nan=0.0)
        kept = {name: coord for name, coord in shown.coords.items() if "band" not in coord.dims}
        return xr.DataArray(picture, dims=("y", "x", "rgb"), coords=kept, name="rgb")

    def _colour_bands(self) -> NDArray[np.intp]:
        """Indices of the bands shown in red, green and blue."""
        flags = self._scene["good"].to_numpy() if "good" in self._scene.coords else None
        good = (
            np.arange(self._scene.sizes["band"])
            if flags is None or not flags.any()
            else np.flatnonzero(flags)
        )
        if "wavelength" in self._scene.coords:
            distance = np.abs(self.wavelength[good] - np.array(NATURAL_COLOUR_NM)[:, None])
            if distance.min(axis=1).max() <= NATURAL_COLOUR_REACH_NM:
                return np.asarray(good[distance.argmin(axis=1)])
        return np.asarray(good[len(good) * np.array([5, 3, 1]) // 6])


def _thinned(scene: xr.DataArray, side: int) -> xr.DataArray:
    """Every n-th row and column, so that neither has more than ``side``; georeferenced where the scene is."""
    step = -(-max(scene.sizes["y"], scene.sizes["x"]) // side)
    if step == 1:
        return scene
    thin = scene.isel(y=slice(None, None, step), x=slice(None, None, step))
    transform = scene.rio.transform()
    if not transform.is_identity:
        # The centre of a kept pixel stays where it was while the pixel grows around it.
        transform = transform @ Affine.translation((1 - step) / 2, (1 - step) / 2) @ Affine.scale(step)
        thin = thin.rio.write_transform(transform)
    return thin


def _stretch(sample: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """What is subtracted from the values and what they are multiplied by, to reach 0 to 255."""
    values = sample[np.isfinite(sample)]
    if values.size == 0:
        return 0.0, 0.0
    dark, bright = np.percentile(values, (low, high))
    return float(dark), 255.0 / float(bright - dark) if bright > dark else 0.0
