"""HySpecNet-11k: patches of EnMAP L2A, and the lists of its easy and hard splits (Fuchs and Demir 2023).

A patch is a folder of an EnMAP product's files without its metadata. Its ``SPECTRAL_IMAGE.TIF`` has all 224
bands; the 22 that the data set leaves out count as not good. Its ``DATA.npy`` has the other 202, clipped to
0..1 and without nodata, which became 0: take the image where it matters which pixels hold data. The files
state no wavelengths; these are the nominal ones of EnMAP.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import line_chunks, make_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.metadata import parse_time
from hsi_toolkit.scene.readers import gdal as gdal_files
from hsi_toolkit.scene.readers import numpy as numpy_files
from hsi_toolkit.scene.readers.archives import is_archive
from hsi_toolkit.scene.readers.band_tables import ENMAP_SWIR_CENTRES, ENMAP_VNIR_CENTRES
from hsi_toolkit.scene.readers.enmap import QUALITY
from hsi_toolkit.scene.readers.product import (
    Product,
    belongs,
    check_bands,
    find_product,
    quality_layers,
    read_header,
)

NAME = r"(?:ENMAP\d\d-.+?-Y\d{8}_X\d{8}|tile_\d+-patch_\d+)"
ANCHOR = re.compile(rf"({NAME})-(?:SPECTRAL_IMAGE\.TIF|DATA\.npy)$", re.IGNORECASE)
TIME = re.compile(r"_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z_")

BANDS = 224
WAVELENGTHS = tuple(sorted(ENMAP_VNIR_CENTRES + ENMAP_SWIR_CENTRES))
"""Nominal centres of the 224 bands in nanometres."""

VALID_BANDS = (*range(126), *range(141, 160), *range(167, BANDS))
"""Indices from zero of the 202 bands in DATA.npy: those outside strong water absorption."""

SCALE = 1e-4
NODATA = -32768.0

Difficulty = Literal["easy", "hard"]
Part = Literal["train", "val", "test"]
File = Literal["data", "image"]


@dataclass(frozen=True)
class Patch:
    """A patch of the data set: its folder, and what the names of its files begin with."""

    folder: Path
    name: str

    @property
    def data(self) -> Path:
        """DATA.npy: (202, 128, 128) float32, 0 to 1."""
        return self.folder / f"{self.name}-DATA.npy"

    @property
    def image(self) -> Path:
        """SPECTRAL_IMAGE.TIF: 224 bands, what ``open_scene`` opens."""
        return self.folder / f"{self.name}-SPECTRAL_IMAGE.TIF"


def sniff(path: Path) -> bool:
    """Whether ``path`` is a patch's folder, its spectral image or its DATA.npy."""
    return not is_archive(path) and belongs(path, ANCHOR, ANCHOR)


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a patch: the image, or DATA.npy when it is named or ``variable`` is "data". Raises SceneError.

    Coordinates (y, x) of the image, read on use: the quality layers of ``enmap.QUALITY``.
    """
    if variable not in (None, "data"):
        raise SceneError(
            f"{path} is a HySpecNet-11k patch and has no '{variable}'.",
            "Leave the variable out for the image, or give 'data'.",
        )
    product = find_product(path, ANCHOR, "HySpecNet-11k")
    if variable == "data" or path.name.lower().endswith("-data.npy"):
        return _open_data(product)
    image = product.need("-SPECTRAL_IMAGE")
    stated = gdal_files.open(image.source, None)
    if "wavelength" in stated.coords:
        return stated  # cut from another scene: the file says for itself what it holds
    header = read_header(image)
    check_bands(header, BANDS, image)
    nodata = NODATA if header.nodata is None else header.nodata
    return make_scene(
        header.source(Calibration(np.full(BANDS, SCALE), None, nodata)),
        path=product.path,
        wavelength=np.array(WAVELENGTHS),
        good=np.isin(np.arange(BANDS), VALID_BANDS),
        crs=header.crs,
        transform=header.transform,
        nodata=nodata,
        quantity="reflectance",
        sensor="EnMAP (HySpecNet-11k)",
        acquired=_acquired(product.name),
        units="1",
        layers=quality_layers(product, QUALITY, header.shape[1:]),
        chunks=line_chunks(header.shape, header.tile_height),
        stored_rows=header.stored_rows,
        found={
            "wavelength": "nominal centres of EnMAP's bands (DLR); the patch states none",
            "good": "the 202 bands of the data set",
            "scale": "the data set's definition",
            "quantity": "the data set's definition",
            "units": "the data set's definition",
            "sensor": "the patch's name",
            "acquired": "the patch's name",
            "nodata": "GDAL nodata of the bands"
            if header.nodata is not None
            else "the data set's definition",
            "crs": "GeoTIFF georeference",
            "transform": "GeoTIFF georeference",
        },
    )


def read_split(dataset: Path, difficulty: Difficulty, part: Part, needs: File = "data") -> tuple[Patch, ...]:
    """The patches of a split, in the order of its list, each checked to be there.

    Args:
        dataset: the folder that holds ``patches`` and ``splits``.
        difficulty: "easy" divides patches at random, "hard" whole tiles.
        part: the set.
        needs: the file that every patch must have.

    Raises:
        SceneError: the list or files of patches are missing, or a line of the list leads elsewhere.
    """
    listing = dataset / "splits" / difficulty / f"{part}.csv"
    if not listing.is_file():
        raise SceneError(
            f"There is no list {listing}.", "Give the folder hyspecnet-11k, with patches and splits in it."
        )
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    patches = tuple(
        _listed(line.strip().strip('"'), number, dataset / "patches", listing)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    files = [patch.data if needs == "data" else patch.image for patch in patches]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        shown = ", ".join(str(file) for file in missing[:3]) + (", ..." if len(missing) > 3 else "")
        problem = f"{len(missing)} of {len(files)} files in {listing} are missing: {shown}."
        raise SceneError(
            problem if missing else f"{listing} lists no patches.", "Download the data set again."
        )
    return patches


def _listed(line: str, number: int, patches: Path, listing: Path) -> Patch:
    place = PurePosixPath(line)
    found = ANCHOR.match(place.name)
    if found is None or place.is_absolute() or ".." in place.parts or "\\" in line:
        raise SceneError(
            f"Line {number} of {listing} is '{line[:80]}', not the path of a DATA.npy within patches.",
            "Download the data set again.",
        )
    return Patch(patches / place.parent, found[1])


def _open_data(product: Product) -> xr.DataArray:
    member = product.need("-DATA", (".NPY",))
    plain = numpy_files.open(member.source, ":byx")
    if plain.sizes["band"] != len(VALID_BANDS):
        raise SceneError(
            f"{member.shown} has {plain.sizes['band']} bands, not the {len(VALID_BANDS)} of HySpecNet-11k.",
            "Make it anew from the patch's image.",
        )
    scene = plain.assign_coords(
        band=("band", np.array(VALID_BANDS) + 1),
        wavelength=("band", np.array(WAVELENGTHS)[list(VALID_BANDS)], {"units": "nm"}),
    )
    scene.attrs |= {"quantity": "reflectance", "units": "1", "sensor": "EnMAP (HySpecNet-11k)"}
    scene.attrs["source"] = str(product.path)
    acquired = _acquired(product.name)
    if acquired:
        scene.attrs["acquired"] = acquired
    scene.encoding["found"] = {
        "wavelength": "nominal centres of EnMAP's bands (DLR); the patch states none",
        "quantity": "the data set's definition",
        "acquired": "the patch's name",
    }
    return scene


def _acquired(name: str) -> str | None:
    found = TIME.search(name)
    if found is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    return parse_time(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
