"""Endmembers of a scene about which nothing is known."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.unmixing.archetypes import count_archetypes, find_archetypes
from hsi_toolkit.unmixing.brightness import UNEVEN, Brightness, fit_brightness
from hsi_toolkit.unmixing.extraction import nfindr, vca
from hsi_toolkit.unmixing.simplex import minimum_volume
from hsi_toolkit.unmixing.subspace import virtual_dimensionality

Float64 = NDArray[np.float64]

Extraction = Literal["auto", "archetypes", "minimum-volume", "nfindr", "vca"]

MOST_COUNTED = 12
"""More endmembers are never assumed unless they are asked for."""

_WHITE = 2.0
"""How far the strongest of the directions left out may exceed their mean, as it does by chance."""


def find_endmembers(
    pixels: Float64,
    count: int | None = None,
    extraction: Extraction = "auto",
    *,
    brightness: Brightness | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Float64:
    """Endmembers (count, bands) of ``pixels`` (n, bands), finite, in the scene's units; the brightest first.

    Args:
        count: how many; None takes as many archetypes as each explain much of what is left, and not more
            than the virtual dimensionality.
        extraction: auto takes the minimum volume where so many endmembers explain all but white noise, and
            archetypes elsewhere. Archetypes serve scenes with light and shade and varying materials;
            minimum-volume those without pure pixels and little else than noise; nfindr and vca are classical.
        brightness: how light enters archetypes; None asks the scene: those of even light are taken where
            its pixels add up to one in them.

    Raises:
        SceneError: the pixels are too few.
        ParameterError: the extraction is unknown.
    """
    progress = progress or Progress()
    if extraction not in get_args(Extraction):
        raise ParameterError(
            f"There is no extraction {extraction!r}.",
            "Choose one of " + ", ".join(get_args(Extraction)) + ".",
        )
    if count is None:
        count = count_endmembers(pixels, seed=seed, progress=progress.part(0.0, 0.4))
        progress = progress.part(0.4, 1.0)
    if count > pixels.shape[1]:
        raise SceneError(
            f"{count} endmembers cannot be found in {pixels.shape[1]} bands.", "Ask for fewer endmembers."
        )
    if extraction == "auto":
        extraction = "minimum-volume" if leaves_white_noise(pixels, count) else "archetypes"
    if extraction == "archetypes":
        found = _archetypes(pixels, count, brightness, seed, progress)
    elif extraction == "minimum-volume":
        found = minimum_volume(pixels, count, seed=seed, progress=progress)
    else:
        found = pixels[(nfindr if extraction == "nfindr" else vca)(pixels, count, seed=seed)]
    ordered: Float64 = found[np.argsort(-found.mean(axis=1), kind="stable")]
    return ordered


def leaves_white_noise(pixels: Float64, count: int) -> bool:
    """Whether ``count`` dimensions hold all of ``pixels`` (n, bands) but noise that is alike in all others.

    Real materials vary, which shows as further directions that stand out; then it is false.
    """
    values = np.linalg.eigvalsh(pixels.T @ pixels / len(pixels))[::-1]
    left = values[count:]
    return len(left) > 1 and bool(left[0] < _WHITE * left.mean())


def _archetypes(
    pixels: Float64, count: int, brightness: Brightness | None, seed: int, progress: Progress
) -> Float64:
    if brightness in (None, "even"):
        found = find_archetypes(pixels, count, even=True, seed=seed, progress=progress.part(0.0, 0.5))
        if brightness == "even" or fit_brightness(pixels, found.spectra)[1] < UNEVEN:
            return found.spectra
    return find_archetypes(pixels, count, seed=seed, progress=progress.part(0.5, 1.0)).spectra


def count_endmembers(pixels: Float64, *, seed: int = 0, progress: Progress | None = None) -> int:
    """How many endmembers ``pixels`` (n, bands) call for, at least two. See ``find_endmembers``."""
    most = min(MOST_COUNTED, pixels.shape[1])
    if len(pixels) > pixels.shape[1]:
        most = min(most, max(2, virtual_dimensionality(pixels)))
    return count_archetypes(pixels, most, seed=seed, progress=progress)
