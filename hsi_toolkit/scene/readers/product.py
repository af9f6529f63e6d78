"""What products of GeoTIFFs and a metadata file have in common: finding their parts, reading the rasters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import psutil
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from hsi_toolkit.errors import SceneError
from hsi_toolkit.safe_xml import XmlError, parse_xml
from hsi_toolkit.scene.contract import check_shape, line_chunks, make_scene
from hsi_toolkit.scene.lazy import Calibration, RasterSource
from hsi_toolkit.scene.readers.archives import (
    Member,
    is_archive,
    list_beside,
    list_members,
)
from hsi_toolkit.scene.readers.gdal import CACHE_BYTES, GdalSource
from hsi_toolkit.scene.readers.member_dataset import MemberDataset, UnpackedDataset

RASTER_SUFFIXES = (".TIF", ".TIFF", ".GEOTIFF", "_COG.TIF", "_COG.TIFF", ".JP2", ".JPEG2000")
"""Endings of a product's rasters in the order in which they are taken; COG copies hold the same numbers."""

UNPACKED_BEYOND = 16 << 20
"""Images that a zip compresses are unpacked for reading when they have more bytes than this."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Product:
    """The files of one product.

    Attributes:
        path: as the user named it.
        name: what the names of all parts begin with.
        parts: the rest of each name in upper case ("-METADATA.XML"), and the file.
    """

    path: Path
    name: str
    parts: Mapping[str, Member]

    def find(self, part: str, suffixes: Iterable[str] = RASTER_SUFFIXES) -> Member | None:
        """The part's file ("-SPECTRAL_IMAGE"), None when it is missing or empty."""
        found = (self.parts.get(part + suffix) for suffix in suffixes)
        return next((member for member in found if member is not None and member.size), None)

    def need(self, part: str, suffixes: Sequence[str] = RASTER_SUFFIXES) -> Member:
        """The part's file. Raises SceneError when it is missing or empty."""
        member = self.find(part, suffixes)
        if member is None:
            empty = any(part + suffix in self.parts for suffix in suffixes)
            raise SceneError(
                f"{self.name}{part}{suffixes[0]} in {self.path} is {'empty' if empty else 'missing'}.",
                "Get the whole product: folder or archive with all its files.",
            )
        return member


def belongs(path: Path, anchor: re.Pattern[str], parts: re.Pattern[str]) -> bool:
    """Whether a path is a product's folder, its archive, or one of its files.

    Args:
        path: of anything that exists.
        anchor: matches the file of which a product has one; its first group is the product's name.
        parts: matches the names of files that stand for the product.
    """
    try:
        if path.is_dir() or is_archive(path):
            return any(anchor.match(member.name) for member in list_members(path))
        return parts.match(path.name) is not None and path.is_file()
    except SceneError:
        return True
    except OSError:
        return False


def find_product(path: Path, anchor: re.Pattern[str], family: str) -> Product:
    """The product in a folder or archive, or the one that a file is part of.

    Raises:
        SceneError: there is none, or there are several.
    """
    whole = path.is_dir() or is_archive(path)
    members = list_members(path) if whole else list_beside(path)
    anchors = {(member.folder, found[1]): None for member in members if (found := anchor.match(member.name))}
    if not whole:
        anchors = {
            key: None for key in sorted(anchors, key=lambda key: -len(key[1])) if path.name.startswith(key[1])
        }
    elif len(anchors) > 1:
        names = ", ".join(name for _, name in list(anchors)[:4]) + (", ..." if len(anchors) > 4 else "")
        raise SceneError(f"{path} holds {len(anchors)} {family} products: {names}.", "Give one of them.")
    if not anchors:
        raise SceneError(
            f"{path} lacks the metadata file of an {family} product.",
            "Give the whole product: folder or archive with all its files.",
        )
    folder, name = next(iter(anchors))
    parts = {
        member.name[len(name) :].upper(): member
        for member in members
        if member.folder == folder and member.name.startswith(name)
    }
    return Product(path, name, parts)


def read_xml(member: Member, skip: Sequence[str] = ()) -> Element:
    """The metadata file's root element, without the elements to ``skip``. Raises SceneError."""
    try:
        return parse_xml(member.read(), skip)
    except XmlError as error:
        raise SceneError(
            f"{member.shown} cannot be read as XML: {error}.",
            "The file may be damaged; copy or download it again.",
        ) from error


def numbers(elements: Sequence[Element], tag: str, member: Member) -> Array:
    """The number that each element holds in its child ``tag``, (elements,) float64. Raises SceneError."""
    found = np.empty(len(elements))
    for position, element in enumerate(elements):
        text = (element.findtext(tag) or "").strip()
        try:
            found[position] = float(text)
        except ValueError:
            found[position] = np.nan
        if not np.isfinite(found[position]):
            raise SceneError(
                f"{member.shown} gives '{text[:40]}' as {tag} of band {position + 1}, not a number.",
                "Get the product from its provider again.",
            )
    return found


def spectral(elements: Sequence[Element], centre: str, width: str, member: Member) -> tuple[Array, Array]:
    """Band centres and widths in nanometres, (bands,) each, checked to be possible. Raises SceneError."""
    centres, widths = numbers(elements, centre, member), numbers(elements, width, member)
    wrong = np.flatnonzero((centres <= 0) | (widths < 0))
    if not len(elements) or wrong.size:
        what = f"an impossible wavelength of band {wrong[0] + 1}" if wrong.size else "no bands"
        raise SceneError(f"{member.shown} states {what}.", "Get the product from its provider again.")
    return centres, widths


@dataclass(frozen=True)
class Header:
    """What a raster says about itself; ``transform`` is None where it is not georeferenced."""

    dataset: MemberDataset
    shape: tuple[int, int, int]
    dtype: np.dtype[np.number]
    crs: CRS | None
    transform: Affine | None
    nodata: float | None
    tile_height: int

    @property
    def stored_rows(self) -> int:
        """Lines that are compressed together."""
        return min(self.tile_height, self.shape[1])

    def source(self, calibration: Calibration) -> RasterSource:
        """All bands of the raster, lazily."""
        bands, _, width = self.shape
        low, high = CACHE_BYTES
        row_of_tiles = self.tile_height * width * bands * self.dtype.itemsize
        cache = min(max(row_of_tiles * 5 // 4, low), max(high, psutil.virtual_memory().total // 8))
        member = self.dataset.member
        unpack = member.packed and member.size > UNPACKED_BEYOND
        dataset = UnpackedDataset(member) if unpack else self.dataset
        return GdalSource(dataset, self.shape, calibration, masked=False, cache=cache)


def read_header(member: Member) -> Header:
    """Open a raster and read its header. Raises SceneError."""
    holder = MemberDataset(member)
    with holder.use() as dataset:
        shape = (dataset.count, dataset.height, dataset.width)
        check_shape(shape, holder.path)
        dtype = np.dtype(dataset.dtypes[0])
        if len(set(dataset.dtypes)) > 1 or dtype.kind not in "iuf":
            raise SceneError(f"{holder.path} holds {dtype} numbers.", "Copy or download the product again.")
        nodata = dataset.nodatavals[0]
        return Header(
            holder,
            shape,
            dtype,
            dataset.crs,
            None if dataset.transform.is_identity else dataset.transform,
            None if nodata is None or np.isnan(nodata) else float(nodata),
            max(height for height, _ in dataset.block_shapes),
        )


def check_bands(header: Header, listed: int, metadata: Member) -> None:
    """Refuse an image with other bands than the metadata list. Raises SceneError."""
    if header.shape[0] != listed:
        raise SceneError(
            f"{header.dataset.path} has {header.shape[0]} bands, but {metadata.name} lists {listed}.",
            "The files belong to different products, or were cut: get the whole product again.",
        )


def check_size(header: Header, rows: str | None, columns: str | None, metadata: Member) -> None:
    """Refuse an image of another size than the metadata state; no statement, no check. Raises SceneError."""
    stated = [int(text) if text and text.strip().isdecimal() else None for text in (rows, columns)]
    if any(said not in (None, is_) for said, is_ in zip(stated, header.shape[1:], strict=True)):
        raise SceneError(
            f"{header.dataset.path} has {header.shape[1]} x {header.shape[2]} pixels, but {metadata.name} "
            f"says {stated[0]} x {stated[1]}.",
            "The files belong to different products, or were cut: get the whole product again.",
        )


@dataclass(frozen=True)
class Layer:
    """A band of a quality raster: the name of its coordinate, and the numbers that make it true.

    Without such numbers the coordinate holds those of the raster.
    """

    name: str
    flags: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class QualityLayer:
    """One band of a quality raster as a coordinate of the scene (see ``LayerSource``).

    Opened on first use, so that a scene does not fail for a layer nobody asks for.
    """

    dataset: MemberDataset
    shape: tuple[int, int]
    band: int
    flags: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.bool_] | np.dtype[np.uint8]:
        """Truth values, or codes."""
        return np.dtype(np.bool_) if self.flags else np.dtype(np.uint8)

    def read(self, rows: slice, columns: slice) -> NDArray[np.bool_] | NDArray[np.uint8]:
        """See ``LayerSource.read``. Raises SceneError when the layer does not fit the scene."""
        with self.dataset.use() as dataset:
            if dataset.shape != self.shape or dataset.count < self.band or dataset.dtypes[0] != "uint8":
                raise SceneError(
                    f"{self.dataset.path} is no layer of {self.shape[0]} x {self.shape[1]} flags, as its "
                    "scene wants.",
                    "Copy or download the product again.",
                )
            stored: NDArray[np.uint8] = dataset.read(self.band, window=Window.from_slices(rows, columns))
        return np.isin(stored, self.flags) if self.flags else stored


def quality_layers(
    product: Product, rasters: Mapping[str, Sequence[Layer]], shape: tuple[int, int]
) -> dict[str, QualityLayer]:
    """The layers that the product has, by name; ``rasters`` are the layers of the bands of each part."""
    found: dict[str, QualityLayer] = {}
    for part, layers in rasters.items():
        member = product.find(part)
        if member is not None:
            dataset = MemberDataset(member)
            found |= {
                layer.name: QualityLayer(dataset, shape, band, layer.flags)
                for band, layer in enumerate(layers, start=1)
            }
    return found


def error_codes(scene: xr.DataArray, product: Product, part: str) -> xr.DataArray:
    """The codes of each band and pixel, numbers without a unit, on the bands and the grid of ``scene``.

    Args:
        scene: whose coordinate ``band`` numbers the bands of its image from one.
        product: that of the scene.
        part: its raster of codes, with as many bands as the image has.

    Raises:
        SceneError: the raster is missing or of another size.
    """
    header = read_header(product.need(part))
    index = scene["band"].to_numpy() - 1
    if header.shape[1:] != scene.shape[1:] or header.shape[0] <= index.max():
        raise SceneError(
            f"{header.dataset.path} has {header.shape[0]} bands of {header.shape[1]} x {header.shape[2]} "
            f"codes, its scene {len(index)} of {scene.shape[1]} x {scene.shape[2]} pixels.",
            "Copy or download the product again.",
        )
    codes = make_scene(
        header.source(Calibration()),
        path=product.path,
        chunks=line_chunks(header.shape, header.tile_height),
        stored_rows=header.stored_rows,
    )
    codes = codes.isel(band=index).assign_coords(scene.coords)
    codes.attrs |= {name: scene.attrs[name] for name in ("sensor", "acquired") if name in scene.attrs}
    return codes


def corners(root: Element) -> dict[str, tuple[float, ...]]:
    """Attributes ``corner_longitudes`` and ``_latitudes`` (degrees, clockwise from the upper left)."""
    places: dict[str, tuple[float, float]] = {}
    for point in root.findall("base/spatialCoverage/boundingPolygon/point"):
        try:
            place = float(point.findtext("longitude") or ""), float(point.findtext("latitude") or "")
        except ValueError:
            continue
        places.setdefault((point.findtext("frame") or "").strip(), place)
    frames = ("upper_left", "upper_right", "lower_right", "lower_left")
    if not all(frame in places for frame in frames):
        return {}
    return {
        "corner_longitudes": tuple(places[frame][0] for frame in frames),
        "corner_latitudes": tuple(places[frame][1] for frame in frames),
    }
