"""Export."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Export(Task):
    """Write a scene, or a part of it, in another format."""

    name: ClassVar[str] = "export"
    title: ClassVar[str] = "Export a scene"
    summary: ClassVar[str] = (
        "A scene or a part of it as GeoTIFF, ENVI, NetCDF or Zarr, with all its metadata."
    )
    description: ClassVar[str] = (
        "Writes the values in their physical quantity with wavelengths, band widths, bad bands, no-data, "
        "georeference, time, sensor and units where GDAL, QGIS and other programs look for them. The suffix "
        "of the output chooses the format: .tif is a tiled and compressed GeoTIFF, .hdr an ENVI header with "
        "its data beside it as .img, .nc a NetCDF-4 file and .zarr a Zarr store, both with CF metadata. A "
        "window and a range of wavelengths can be cut out. The scene is read once, in blocks."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = (
        "convert",
        "GeoTIFF",
        "ENVI",
        "NetCDF",
        "Zarr",
        "CF",
        "subset",
        "clip",
        "crop",
    )
    references: ClassVar[Tuple[str, ...]] = ("NetCDF Climate and Forecast (CF) Metadata Conventions, 1.11",)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi export PRS_L2D_STD_20200601.he5 -o scene.tif",
        "hsi export scene.hdr -o part.nc --bbox 365000,5800000,370000,5805000 --wavelengths 400-1000",
    )

    scene: str = common.scene()
    output: str = parameter(
        "file_output",
        "Exported scene",
        "A .tif, .hdr, .nc or .zarr; the suffix chooses the format.",
        suffixes=(".tif", ".hdr", ".nc", ".zarr"),
        option="-o",
    )
    bbox: Optional[str] = parameter(
        "text",
        "Window",
        "Cut out xmin,ymin,xmax,ymax in the scene's coordinates; columns and rows where it has none.",
        default=None,
    )
    wavelengths: Optional[str] = parameter(
        "text",
        "Wavelengths",
        "Keep the bands within these ranges in nanometres, such as 400-1340,1445-1790.",
        default=None,
    )
    good: bool = parameter("flag", "Good bands only", "Leave out the bad bands.", default=False)
    integers: bool = parameter(
        "flag",
        "16-bit integers",
        "Store reflectance times 10,000: half the size, in steps of 0.0001.",
        default=False,
    )
    interleave: str = parameter(
        "choice",
        "Interleave",
        "The order of an ENVI file: by band, line or pixel.",
        choices=("bsq", "bil", "bip"),
        default="bsq",
        advanced=True,
    )
    variable: Optional[str] = common.variable()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
