"""What a codec costs and what it loses, measured as HySpecNet-11k does, beside principal components."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hsi_toolkit.datasets import PatchSet
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models.codecs import Codec
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.metrics import CubeComparison
from hsi_toolkit.reports.plots import FAINT, styled
from hsi_toolkit.spectral.covariance import StreamingCovariance

Cube = NDArray[np.float32]

_CODEC, _COMPONENTS = "#0b6e75", "#c45414"


@dataclass(frozen=True)
class CodecQuality:
    """Means over patches.

    Attributes:
        bpppc: bits per pixel and channel of the latent in 32-bit floats.
        psnr: −10 log10 of a patch's mean squared error, dB.
        ssim: structural similarity, mean over the bands.
        spectral_angle: degrees.
        patches: their number.
    """

    bpppc: float
    psnr: float
    ssim: float
    spectral_angle: float
    patches: int


def codec_quality(
    codec: Codec, patches: PatchSet, *, device: torch.device, half: bool = False, progress: Progress
) -> CodecQuality:
    """Compress and restore every patch.

    Args:
        half: run the network in 16 bits: float16 on CUDA, bfloat16 elsewhere.

    Raises:
        ModelError: the codec is made for another number of bands.
        ParameterError: it does not take patches of this size.
    """
    bands, rows, columns = patches.shape
    if codec.bands != bands:
        raise ModelError(
            f"The codec takes {codec.bands} bands, the patches have {bands}.",
            "Test it on a data set of its own bands.",
        )
    if rows % codec.spatial_step or columns % codec.spatial_step:
        raise ParameterError(
            f"The codec takes patches whose sides are multiples of {codec.spatial_step}, not "
            f"{rows} × {columns}.",
            "Test it on other patches.",
        )
    network = codec.to(device).eval()
    precision = torch.float16 if device.type == "cuda" else torch.bfloat16

    def restored(patch: Cube) -> Cube:
        with torch.no_grad(), torch.autocast(device.type, precision, enabled=half):
            result: Cube = network(torch.from_numpy(patch[None]).to(device))[0].float().cpu().numpy()
        return result

    return _measured(restored, codec.bpppc, patches, progress)


def component_quality(
    statistics: StreamingCovariance, bpppc: float, patches: PatchSet, progress: Progress
) -> CodecQuality:
    """The same of principal components, as many as their 32-bit floats have at ``bpppc``."""
    count = max(1, min(statistics.n_bands, int(bpppc * statistics.n_bands / 32 + 1e-9)))
    vectors = np.asarray(np.linalg.eigh(statistics.covariance)[1][:, ::-1][:, :count], np.float32)
    mean = np.asarray(statistics.mean, np.float32)

    def restored(patch: Cube) -> Cube:
        spectra = patch.reshape(len(patch), -1).T - mean
        result = (spectra @ vectors @ vectors.T + mean).T.reshape(patch.shape)
        return np.asarray(result, np.float32)

    return _measured(restored, 32 * count / statistics.n_bands, patches, progress)


def statistics_of_patches(patches: PatchSet, progress: Progress) -> StreamingCovariance:
    """Mean and covariance of the spectra of all patches."""
    statistics = StreamingCovariance(patches.shape[0])
    for number in range(len(patches)):
        progress.check()
        statistics.update(patches[number].reshape(patches.shape[0], -1).T)
        progress.report((number + 1) / len(patches), "Measuring the training patches")
    return statistics


def _measured(
    restored: Callable[[Cube], Cube], bpppc: float, patches: PatchSet, progress: Progress
) -> CodecQuality:
    figures = []
    for number in range(len(patches)):
        progress.check()
        progress.report(number / len(patches), "Testing on the patches")
        patch = patches[number]
        result = restored(patch)
        error = float(np.square(result.astype(np.float64) - patch).mean())
        comparison = CubeComparison(np.ones(len(patch)))
        comparison.update(result, patch)
        quality = comparison.result()
        psnr = math.inf if error == 0 else -10 * math.log10(error)
        figures.append((psnr, quality.mean_ssim, math.degrees(quality.spectral_angle)))
    psnr, ssim, angle = np.nanmean(figures, axis=0).tolist()
    return CodecQuality(bpppc, psnr, ssim, angle, len(patches))


def rate_distortion_png(
    codecs: Sequence[tuple[str, CodecQuality]], components: Sequence[CodecQuality]
) -> bytes:
    """PSNR over the rate: a point each codec, a line for principal components."""
    with styled():
        figure = Figure(figsize=(7.2, 4.2), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        line = sorted((each.bpppc, each.psnr) for each in components)
        axes.plot(*zip(*line, strict=True), "o-", color=_COMPONENTS, ms=4, label="principal components")
        rates, values = zip(*((each.bpppc, each.psnr) for _, each in codecs), strict=True)
        axes.plot(rates, values, "o", color=_CODEC, ms=7, label="codecs")
        for name, each in codecs:
            axes.annotate(name, (each.bpppc, each.psnr), (6, 6), textcoords="offset points", fontsize=8)
        axes.set_xscale("log", base=2)
        axes.set_xticks((1, 2, 4, 8), ("1", "2", "4", "8"))
        axes.minorticks_off()
        axes.margins(0.12)
        axes.set_xlabel("bits per pixel and band (32-bit latents)", color=FAINT)
        axes.set_ylabel("PSNR in dB", color=FAINT)
        axes.legend(frameon=False)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
