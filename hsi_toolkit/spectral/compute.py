"""The same array arithmetic on the processor or on a CUDA device."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hsi_toolkit.spectral.parallel import map_blocks

if TYPE_CHECKING:
    import torch

Array = NDArray[np.floating]
Kind = TypeVar("Kind", bound=np.floating)
Model = TypeVar("Model")

_RUN = 8192


class Compute:
    """Where arrays are worked on: by NumPy on the processor's threads, or as torch tensors on a device.

    Code written with operators and with those functions of ``xp`` that NumPy and torch share runs on both.
    Types name NumPy's arrays; on a device they are tensors, which behave alike in that code.

    Args:
        device: of the tensors; None works with NumPy, whose matrix products are the faster ones there.
    """

    def __init__(self, device: "torch.device | None" = None) -> None:
        self.device = device
        self.xp: ModuleType = np
        if device is not None:
            import torch

            self.xp = torch

    @classmethod
    def on(cls, name: str) -> "Compute":
        """On the device called ``name``: "auto", "cpu" or "cuda".

        Raises:
            ParameterError: CUDA is asked for and there is none.
        """
        if name == "cpu":
            return cls()
        from hsi_toolkit.inference.devices import choose_device

        device = choose_device(name)
        return cls(device if device.type == "cuda" else None)

    def put(self, values: NDArray[np.generic], dtype: DTypeLike | None = None) -> Array:
        """``values`` where the work is done, in their own type or in ``dtype``."""
        if self.device is None:
            return cast(Array, values if dtype is None else np.asarray(values, dtype))
        import torch

        if isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()  # torch has no arrays that cannot be written to, and warns
        # Sent as they are and converted there: fewer bytes go over the bus.
        tensor = torch.as_tensor(values).to(self.device)
        return cast(Array, tensor if dtype is None else tensor.to(_torch_type(dtype)))

    @staticmethod
    def get(array: NDArray[np.generic]) -> NDArray[np.floating]:
        """An array of ``put`` or of later work as NumPy's."""
        if isinstance(array, np.ndarray):
            return cast(Array, array)
        return cast(Array, cast("torch.Tensor", array).cpu().numpy())

    def place(self, model: Model) -> Model:
        """A dataclass with its arrays, at any depth, where the work is done."""
        if self.device is None or not is_dataclass(model) or isinstance(model, type):
            return model
        placed: dict[str, object] = {}
        for each in fields(model):
            value = getattr(model, each.name)
            placed[each.name] = self.put(value) if isinstance(value, np.ndarray) else self.place(value)
        return replace(model, **placed)

    def squared_lengths(self, X: NDArray[Kind]) -> NDArray[Kind]:
        """Sums of squares (n,) of (n, k)."""
        return cast("NDArray[Kind]", self.xp.einsum("ij,ij->i", X, X))

    def largest(self, X: Array) -> Array:
        """The largest (n,) of (n, k)."""
        return cast(Array, self.xp.amax(X, 1))

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """A float32 array of one value."""
        return self.put(np.full(shape, value, np.float32))

    def pixelwise(
        self, function: Callable[..., Array], *spectra: Array, dtype: DTypeLike
    ) -> NDArray[np.float32]:
        """``function`` of pixels (n, bands) given as ``dtype``, a number each: float32 (n,) of NumPy.

        Pixels go through in cache-sized runs on several threads, or all at once on a device.
        """
        count = len(spectra[0])
        if self.device is not None:
            found = self.get(function(*(self.put(each, dtype) for each in spectra)))
            return found.astype(np.float32, copy=False)
        scores = np.empty(count, np.float32)

        def run(rows: slice) -> None:
            scores[rows] = function(*(self.put(each[rows], dtype) for each in spectra))

        for _ in map_blocks(run, runs_of(count)):
            pass
        return scores


def runs_of(count: int) -> list[slice]:
    """Slices of a few thousand pixels, which fit the cache."""
    return [slice(start, min(start + _RUN, count)) for start in range(0, count, _RUN)]


def _torch_type(dtype: DTypeLike) -> "torch.dtype":
    import torch

    return cast("torch.dtype", getattr(torch, np.dtype(dtype).name))
