"""A scene seen as the images of its components: few, with noise of unit variance in each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.denoising.denoiser import Denoiser, NoiseModel
from hsi_toolkit.denoising.statistics import Float32
from hsi_toolkit.denoising.subspace import SubspaceTensors
from hsi_toolkit.scene import make_scene
from hsi_toolkit.scene.blocks import values_of

_CPU = torch.device("cpu")
_PIXELS = 1 << 15  # that are worked on together


@dataclass(frozen=True, eq=False)
class SceneComponents:
    """The components of a scene (band, y, x), read window by window: the source of a lazy scene of its own.

    Stripes, dead lines and impulses are put right before, gaps in a spectrum filled; pixels without any data
    are NaN.

    Attributes:
        scene: the bands that ``model`` is of.
        model: its noise, signal and faults.
    """

    scene: xr.DataArray
    model: NoiseModel

    @property
    def shape(self) -> tuple[int, int, int]:
        """Components, rows, columns."""
        return self.model.subspace.dimension, int(self.scene.sizes["y"]), int(self.scene.sizes["x"])

    def read(self, bands: slice | NDArray[np.intp], rows: slice, columns: slice) -> Float32:
        """The window of some components, float32, in units of the noise."""
        tensors = self.model.subspace.tensors(_CPU)
        given = values_of(self.scene.isel(y=rows, x=columns))
        images = np.empty((self.shape[0], *given.shape[1:]), np.float32)
        for part in _runs(*given.shape[1:]):
            _, components, empty = self._projected(
                tensors, given[:, part], rows.start + part.start, columns.start
            )
            components[:, empty] = torch.nan
            images[:, part] = components.reshape(images[:, part].shape).numpy()
        return images[bands]

    def as_scene(self) -> xr.DataArray:
        """The lazy scene (component, y, x) of these, its first dimension called band."""
        return make_scene(self, path=Path(self.scene.attrs.get("source") or "components"))

    def restored(self, components: Float32, y0: int) -> Float32:
        """Whole rows of the scene from ``y0`` with other components (n, rows, columns), in the scene's units.

        What rare pixels hold beyond the components comes back with them; what was missing is NaN.
        """
        tensors = self.model.subspace.tensors(_CPU)
        given = values_of(self.scene.isel(y=slice(y0, y0 + components.shape[1])))
        found = np.full_like(given, np.nan)
        for part in _runs(*given.shape[1:]):
            rows = given[:, part]
            whitened, before, empty = self._projected(tensors, rows, y0 + part.start, 0)
            after = torch.from_numpy(components[:, part].reshape(len(components), -1))
            clean = tensors.restore(torch.where(empty, 0.0, after))
            pixels, residual = tensors.foreign(whitened, before)
            clean[:, pixels] += residual
            np.copyto(found[:, part], clean.numpy().reshape(rows.shape), where=np.isfinite(rows))
        return found

    def _projected(
        self, tensors: SubspaceTensors, given: Float32, y0: int, x0: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(bands, pixels) whitened, (n, pixels) components, and (pixels,) bool, where all is missing."""
        repaired = given
        if self.model.faults.any or self.model.threshold is not None:
            (block,) = Denoiser(self.model, "none", _CPU).blocks([(given, y0)], x0=x0)
            repaired = block.clean
        whitened = tensors.whiten(torch.from_numpy(repaired.reshape(len(repaired), -1)))
        missing = ~torch.isfinite(whitened)
        if bool(missing.any()):
            whitened = tensors.complete(torch.where(missing, 0.0, whitened), missing)
        return whitened, tensors.basis.T @ whitened, missing.all(dim=0)


def _runs(rows: int, columns: int) -> list[slice]:
    """Rows of a window that are worked on together."""
    height = max(1, _PIXELS // columns)
    return [slice(top, min(top + height, rows)) for top in range(0, rows, height)]
