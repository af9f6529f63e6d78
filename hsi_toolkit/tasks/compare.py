"""Compare two cubes."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Compare(Task):
    """Say how close one cube is to a reference."""

    name: ClassVar[str] = "compare"
    title: ClassVar[str] = "Compare two cubes"
    summary: ClassVar[str] = "PSNR, SSIM, spectral angle, ERGAS and each band's error against a reference."
    description: ClassVar[str] = (
        "Judges a denoised, sharpened, decompressed or unmixed raster by a reference of the same size: root "
        "mean square error, peak signal-to-noise ratio and structural similarity of each band, and the mean "
        "spectral angle and ERGAS of the whole. Fractions come in no order: let their bands be matched "
        "first; endmembers are scored beside them. Bands that either file calls bad and pixels without data "
        "are left out."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = ("quality", "PSNR", "SSIM", "SAM", "ERGAS", "RMSE", "difference")
    references: ClassVar[Tuple[str, ...]] = (
        "Wang et al. 2004, Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE "
        "Transactions on Image Processing 13, doi:10.1109/TIP.2003.819861",
        "Wald 2000, Quality of High Resolution Synthesised Images: Is There a Simple Criterion?, Fusion of "
        "Earth Data",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi compare clean.tif reference.hdr --report quality.html",
        "hsi compare abundances.tif truth.tif --match --spectra em.csv --reference-spectra truth.csv",
    )

    scene: str = parameter("raster", "Scene", "The cube to judge.", positional=True)
    reference: str = parameter(
        "raster", "Reference", "The cube it should equal, of the same size.", positional=True
    )
    output: Optional[str] = parameter(
        "raster_output",
        "Spectral angle",
        "The angle between both spectra of each pixel, in radians.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
        option="-o",
    )
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "An HTML report with pictures; its figures go beside it as JSON.",
        suffixes=(".html",),
        default=None,
        option="-r",
    )
    match: bool = parameter(
        "flag",
        "Match bands",
        "The bands are fractions in any order: pair each reference band with the one that fits it best.",
        default=False,
    )
    spectra: Optional[str] = parameter(
        "file",
        "Endmembers",
        "A library of found endmembers, to be scored by their spectral angle.",
        suffixes=common.LIBRARY_SUFFIXES,
        default=None,
    )
    reference_spectra: Optional[str] = parameter(
        "file",
        "Reference endmembers",
        "The library they should equal; each of its spectra is paired with the one that fits best overall.",
        suffixes=common.LIBRARY_SUFFIXES,
        default=None,
    )
    peak: Optional[float] = parameter(
        "number",
        "Peak value",
        "The value that PSNR and SSIM refer to; by default each band's largest in the reference.",
        default=None,
        minimum=1e-12,
        advanced=True,
    )
    ratio: float = parameter(
        "number",
        "Resolution ratio",
        "For ERGAS: how many times smaller the pixels became by sharpening.",
        default=1.0,
        minimum=1.0,
        maximum=1000.0,
        advanced=True,
    )
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
