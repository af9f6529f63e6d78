"""Compress a scene."""

import time
from collections.abc import Mapping

from hsi_toolkit.compression.engine import Wish, compress_scene, verify
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.files import check_output
from hsi_toolkit.models.codecs import Codec
from hsi_toolkit.models.codecs.files import load_codec
from hsi_toolkit.models.zoo import resolve
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.tasks.compress import Compress


def run(task: Compress, progress: Progress) -> Mapping[str, object]:
    """Compress tile by tile, and read back what was written where that is asked for."""
    check_output(task.output, overwrite=task.overwrite)
    wish = _wish(task)
    scene = open_scene(task.scene, task.variable)
    share = 0.6 if task.verify else 1.0
    start = time.monotonic()
    outcome = compress_scene(
        scene,
        task.output,
        wish,
        progress=progress.part(0.0, share),
        overwrite=task.overwrite,
        codec=_codec(task, scene.sizes["band"]),
        alone=task.codec != "auto",
    )
    seconds = time.monotonic() - start
    if task.verify:
        verify(scene, task.output, progress.part(share, 1.0))
    ratio = outcome.stored_bytes / outcome.compressed_bytes
    return {
        "summary": f"{_size(outcome.stored_bytes)} became {_size(outcome.compressed_bytes)}, "
        f"{ratio:.2f} times less: {outcome.header.promise}.",
        "facts": {
            "Bits a sample": f"{outcome.bits_per_sample:.2f}",
            "Guarantee": outcome.header.promise,
            "Largest error": f"{outcome.error:g}",
            "Largest angle": f"{outcome.angle:.3g}°",
            "Tiles": f"{outcome.header.grid[0]} × {outcome.header.grid[1]}",
            "Speed": f"{outcome.stored_bytes / 1e6 / max(seconds, 1e-9):.1f} MB/s",
            "Read back": "all samples agree" if task.verify else "no",
        },
        "outputs": {"compressed": task.output},
        "bits_per_sample": outcome.bits_per_sample,
        "ratio": ratio,
        "largest_error": outcome.error,
        "largest_angle": outcome.angle,
        "stored_bytes": outcome.stored_bytes,
        "compressed_bytes": outcome.compressed_bytes,
        "guarantee": outcome.header.guarantee,
        "bound": outcome.header.bound,
    }


def _wish(task: Compress) -> Wish:
    wish = Wish(task.max_error, task.max_angle, task.rate)
    if task.codec == "lossless" and wish != Wish():
        raise ParameterError(
            "A lossless file has no largest error, angle or rate.", "Leave them out, or choose another codec."
        )
    return wish


def _codec(task: Compress, bands: int) -> Codec | None:
    """The learned codec that was asked for, None for prediction. Raises ModelError, ParameterError."""
    if task.codec in ("auto", "lossless") and not task.model:
        return None
    if not task.model:
        raise ParameterError(f"The codec {task.codec} needs a model.", "Give its file with --model.")
    if task.codec == "lossless":
        raise ParameterError("Lossless prediction takes no model.", "Leave the model out.")
    codec = load_codec(resolve(task.model), bands)
    if task.codec not in ("auto", codec.name):
        raise ModelError(
            f"{task.model} holds {codec.name}, not {task.codec}.", "Give the model of that codec."
        )
    return codec


def _size(count: int) -> str:
    """Bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
