"""Train a codec that compresses scenes of a sensor."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed


class TrainCodec(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["codec_train"]
    when = (
        "You want to repeat or extend the benchmark of learned compression, and have a GPU. To send a scene "
        "to somebody, Compress a scene needs no training and loses nothing."
    )
    example = fixed(DATASET="patches", EPOCHS=50, CROP=32, OUTPUT="codec.safetensors")
    figures = (
        Figure("PSNR", "Peak signal-to-noise ratio of the validation patches in dB", ("psnr",)),
        Figure("BPPPC", "Bits per pixel and band", ("bpppc",)),
    )
