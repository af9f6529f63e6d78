"""Scene check."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Check(Task):
    """Look a scene over before working with it, and write down what its file has wrong."""

    name: ClassVar[str] = "check"
    title: ClassVar[str] = "Check a scene"
    summary: ClassVar[str] = (
        "What a scene is worth: bad bands, noise, stripes, detectors, smile, geolocation."
    )
    description: ClassVar[str] = (
        "Says what was found in the file and where, and measures on a sample of the scene what the file does "
        "not say: bands of noise or without light, saturation, stripes, dead columns, steps between "
        "detectors, smile, fill values nobody declared, a georeference that cannot be true. It reads at most "
        "100 MB of values, spread over the scene, and takes seconds. What is wrong or missing can be written "
        "to a small file beside the scene, which is honoured whenever the scene is opened; the scene itself "
        "is never touched."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = (
        "quality",
        "bad bands",
        "SNR",
        "noise",
        "striping",
        "smile",
        "wavelength",
        "metadata",
        "sidecar",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Bioucas-Dias and Nascimento 2008, Hyperspectral Subspace Identification, IEEE Transactions on "
        "Geoscience and Remote Sensing 46, doi:10.1109/TGRS.2008.918089",
        "Roger and Arnold 1996, Reliably Estimating the Noise in AVIRIS Hyperspectral Images, International "
        "Journal of Remote Sensing 17, doi:10.1080/01431169608948750",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi check scene.hdr --report check.html",
        "hsi check scene.tif --bands sensor.csv --quantity reflectance --scale 0.0001 --fix",
    )

    scene: str = common.scene()
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "An HTML report with pictures; its figures go beside it as JSON.",
        suffixes=(".html",),
        default=None,
        option="-r",
    )
    fix: bool = parameter(
        "flag",
        "Write the corrections",
        "Write bad bands and what else is wrong or given below to NAME.hsi.json beside the scene.",
        default=False,
    )
    bands: Optional[str] = parameter(
        "file",
        "Take wavelengths from",
        "An ENVI header, a table of wavelengths and widths or another scene, for a scene that has none.",
        suffixes=(".hdr", ".csv", ".txt", ".tif"),
        default=None,
    )
    quantity: Optional[str] = parameter(
        "choice",
        "Quantity",
        "What the values are, where the file does not say.",
        choices=("reflectance", "radiance", "dn"),
        default=None,
    )
    scale: Optional[float] = parameter(
        "number",
        "Scale",
        "What values have to be multiplied by, where the file does not say; 0.0001 is usual for reflectance.",
        default=None,
        minimum=1e-30,
    )
    nodata: Optional[float] = parameter(
        "number", "No-data value", "The value that means no data, where the file does not say.", default=None
    )
    sidecar: Optional[str] = parameter(
        "file_output",
        "Corrections",
        "Write the corrections to this file instead, to be moved beside the scene.",
        suffixes=(".json",),
        default=None,
        advanced=True,
    )
    variable: Optional[str] = common.variable()
    overwrite: bool = common.overwrite()
