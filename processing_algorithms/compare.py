"""Say how close one cube is to a reference."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, scores


class Compare(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["compare"]
    when = (
        "You have denoised, sharpened, compressed or unmixed a scene whose truth you know, and want to say "
        "how well."
    )
    example = fixed(INPUT="clean.tif", REFERENCE="reference.hdr", REPORT="quality.html")
    figures = (
        Figure("PSNR", "Peak signal-to-noise ratio in dB", ("psnr",)),
        Figure("SSIM", "Structural similarity", ("ssim",)),
        Figure("RMSE", "Root mean square error", ("rmse",)),
        Figure("SPECTRAL_ANGLE", "Mean spectral angle in radians", ("spectral_angle",)),
        Figure("ERGAS", "ERGAS", ("ergas",)),
    )
    created = ("report",)
    looks = fixed(output=Look("Spectral angle", scores))
    same_grid = ("scene", "reference")
    pixel_bytes = fixed(output=2.0)
