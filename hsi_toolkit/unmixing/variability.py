"""Materials whose spectra vary: several endmembers for each, the best combination for each pixel."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.quality.matching import spectral_angles
from hsi_toolkit.unmixing.brightness import Brightness
from hsi_toolkit.unmixing.unmixer import Unmixed, Unmixer

Float64 = NDArray[np.float64]

MOST_MODELS = 256
"""Combinations that are tried on every pixel; classes with many spectra are thinned out to stay below."""

MOST_CLASSES = 10
"""With more, no pixel tells the combinations apart."""


class MultipleEndmembers:
    """Multiple endmember spectral mixture analysis.

    Every pixel is unmixed with every combination of one spectrum a class and keeps the one that leaves
    least (Roberts et al. 1998, Remote Sensing of Environment 65, doi:10.1016/S0034-4257(98)00037-6).
    Combinations of fewer classes are among them: the fractions of the others come out zero.

    Args:
        spectra: (spectra, bands) in the scene's units.
        classes: what each spectrum is one of.

    Raises:
        ParameterError: there are fewer than two classes, or too many for one spectrum each.
    """

    def __init__(
        self,
        spectra: Float64,
        classes: Sequence[str],
        *,
        brightness: Brightness = "even",
        device: torch.device | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(classes))
        if len(self.names) < 2:
            raise ParameterError(
                f"All spectra are of the class {self.names[0]!r}.", "Give spectra of two or more classes."
            )
        if len(self.names) > MOST_CLASSES:
            raise ParameterError(
                f"{len(self.names)} classes of spectra are too many to combine: "
                + ", ".join(self.names[:5])
                + ", …",
                f"Give at most {MOST_CLASSES} (names that differ by a number are one), or unmix sparsely.",
            )
        bundles = [np.flatnonzero([each == name for each in classes]) for name in self.names]
        bundles = thin_bundles(spectra, bundles, MOST_MODELS)
        self.models = len(bundles)
        combinations = list(itertools.product(*bundles))
        self._models = [
            Unmixer(spectra[list(each)], self.names, brightness=brightness, device=device)
            for each in combinations
        ]

    def __call__(self, pixels: torch.Tensor) -> Unmixed:
        """Unmix ``pixels`` (n, bands), each with its own best combination."""
        best = self._models[0](pixels)
        for model in self._models[1:]:
            other = model(pixels)
            better = other.error < best.error
            wide = better[:, None]
            best = Unmixed(
                torch.where(wide, other.abundances, best.abundances),
                torch.where(wide, other.residual, best.residual),
                torch.where(better, other.light, best.light),
            )
        return best


def thin_bundles(spectra: Float64, bundles: Sequence[NDArray[np.intp]], most: int) -> list[NDArray[np.intp]]:
    """Bundles of indices into ``spectra`` whose product of sizes is at most ``most``.

    The largest bundle loses the spectrum that is nearest in angle to another of its own, again and again.

    Raises:
        ParameterError: never below one spectrum a bundle, so only when ``most`` is below one.
    """
    if most < 1:
        raise ParameterError(f"{most} combinations make no sense.", "Allow one or more.")
    kept = [np.asarray(bundle) for bundle in bundles]
    while np.prod([float(len(bundle)) for bundle in kept]) > most:
        largest = int(np.argmax([len(bundle) for bundle in kept]))
        angles = spectral_angles(spectra[kept[largest]], spectra[kept[largest]])
        np.fill_diagonal(angles, np.inf)
        kept[largest] = np.delete(kept[largest], int(angles.min(axis=1).argmin()))
    return kept
