"""Where endmembers come from: the scene itself, a spectral library, or polygons on pure ground."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import xarray as xr
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError

from hsi_toolkit.errors import LabelError, ParameterError, SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.common import LIBRARY_SUFFIXES
from hsi_toolkit.training.label_vector import open_layer
from hsi_toolkit.training.labels import read_labels
from hsi_toolkit.unmixing.blind import Extraction, find_endmembers
from hsi_toolkit.unmixing.brightness import Brightness
from hsi_toolkit.unmixing.naming import name_endmembers, plain_names

Float64 = NDArray[np.float64]

CLASS_FIELDS = ("class", "name", "material", "label", "cover", "type", "endmember")
"""Fields that are taken for the material's name where none is named."""


@dataclass(frozen=True, eq=False)
class Endmembers:
    """Endmembers on a scene's bands.

    Attributes:
        library: their spectra and names.
        found: whether they were found in the scene, so that their number and brightness are estimates.
        angles: to the library's spectrum they are named after, radians; NaN where they are not.
        warnings: sentences the user should see.
    """

    library: SpectralLibrary
    found: bool
    angles: tuple[float, ...]
    warnings: tuple[str, ...] = ()


def parse_count(text: str) -> int | None:
    """The number of endmembers a text asks for; None for ``auto``.

    Raises:
        ParameterError: it is neither a whole number above one nor auto.
    """
    if text.strip().lower() == "auto":
        return None
    if not text.strip().isdigit() or int(text) < 2:
        raise ParameterError(
            f"The endmembers {text!r} are neither a number above one, auto, nor a library or vector file.",
            "Give a number, auto, a library (.sli, .csv) or polygons (.gpkg and others).",
        )
    return int(text)


def is_library(text: str) -> bool:
    """Whether a text names a spectral library."""
    return text.lower().endswith(LIBRARY_SUFFIXES)


def found_endmembers(
    scene: xr.DataArray,
    sample: Float64,
    count: int | None,
    extraction: Extraction,
    *,
    brightness: Brightness | None,
    names: str | None,
    seed: int,
    progress: Progress,
) -> Endmembers:
    """Endmembers of a ``sample`` (n, bands) of the scene's pixels, named from a library if one is given."""
    spectra = find_endmembers(sample, count, extraction, brightness=brightness, seed=seed, progress=progress)
    given = (
        plain_names(len(spectra))
        if names is None
        else name_endmembers(spectra, SpectralLibrary.read(names).resampled_to(scene))
    )
    library = SpectralLibrary(spectra, tuple(each.text for each in given), *_bands(scene))
    return Endmembers(library, True, tuple(each.angle for each in given))


def library_endmembers(path: str, scene: xr.DataArray) -> Endmembers:
    """All spectra of a library that cover the scene's bands.

    Raises:
        SceneError: none does.
    """
    library = SpectralLibrary.read(path).resampled_to(scene)
    whole = np.isfinite(library.spectra).all(axis=1) & (library.spectra != 0).any(axis=1)
    if not whole.any():
        raise SceneError(
            f"No spectrum of {Path(path).name} has values in all the scene's bands.", "Use another library."
        )
    kept = SpectralLibrary(
        library.spectra[whole],
        tuple(name for name, usable in zip(library.names, whole, strict=True) if usable),
        library.wavelength,
        library.fwhm,
    )
    lost = len(library) - len(kept)
    note = f"{lost} spectra of the library lack values in some of the scene's bands and were left out."
    return Endmembers(kept, False, (float("nan"),) * len(kept), (note,) if lost else ())


def drawn_endmembers(
    path: str,
    scene: xr.DataArray,
    *,
    field: str | None,
    layer: str | None,
    by_polygon: bool,
    seed: int,
    progress: Progress,
) -> Endmembers:
    """The mean spectrum of each class of polygons or points, or of each single one.

    Raises:
        LabelError: the layer or field cannot be used, or no pixel is labelled.
        SceneError: the pixels of a class hold no data.
    """
    chosen = field or class_field(path, layer)
    labels = read_labels(path, chosen, scene, layer=layer, progress=progress)
    library = SpectralLibrary.of_labels(scene, labels, by_group=by_polygon, seed=seed)
    return Endmembers(library, False, (float("nan"),) * len(library), labels.warnings)


def class_field(path: str, layer: str | None) -> str:
    """The field that holds the materials' names: one with a usual name, or the only one.

    Raises:
        LabelError: the file cannot be read, or several fields could be meant.
    """
    opened = open_layer(path, None, layer)
    try:
        fields = [str(name) for name in pyogrio.read_info(path, layer=opened.name)["fields"]]
    except DataSourceError as error:
        raise LabelError(
            f"{path} cannot be read: {error}.", "Give a vector file such as GeoPackage."
        ) from error
    usual = [name for name in fields if name.casefold() in CLASS_FIELDS]
    if len(usual) == 1 or len(fields) == 1:
        return (usual or fields)[0]
    raise LabelError(
        f"{Path(path).name} has several fields that could name the material: {', '.join(fields)}."
        if fields
        else f"{Path(path).name} has no field that names the material.",
        "Name the field.",
    )


def _bands(scene: xr.DataArray) -> tuple[Float64 | None, Float64 | None]:
    def values(name: str) -> Float64 | None:
        return np.asarray(scene[name].to_numpy(), np.float64) if name in scene.coords else None

    return values("wavelength"), values("fwhm")
