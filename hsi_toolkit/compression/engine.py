"""Compressing a scene, tile by tile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.compression.bounds import (
    Encoded,
    encode_within_angle,
    encode_within_error,
    error_for_rate,
    largest_angle,
    measured,
)
from hsi_toolkit.compression.container import Header, HszFile, HszWriter, tile_grid
from hsi_toolkit.compression.learned import LearnedCodec
from hsi_toolkit.compression.numbers import Stored
from hsi_toolkit.compression.setting import Nodata, missing
from hsi_toolkit.compression.source import HszSource
from hsi_toolkit.compression.threads import in_order
from hsi_toolkit.compression.tile import LEARNED, encode_tile, largest_error
from hsi_toolkit.errors import ModelError, OutputError, ParameterError
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.stored import StoredScene, stored_scene

if TYPE_CHECKING:
    from hsi_toolkit.compression.learned import LearnedCodec
    from hsi_toolkit.models.codecs import Codec

TILE_SIDE = 128
"""Pixels of a tile's side, about: enough to learn from, little enough to decode for a window."""

SAMPLED_TILES = 8
ATTEMPTS = 3


@dataclass(frozen=True)
class Wish:
    """What may be lost: nothing, or as much as one of these allows.

    Attributes:
        max_error: largest absolute difference, in the numbers the file stores.
        max_angle: largest spectral angle, degrees.
        rate: bits a sample that the file may take.
    """

    max_error: float | None = None
    max_angle: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("max_error", "max_angle", "rate") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ParameterError(
                f"{' and '.join(given)} were given together.", "Choose one of error, angle and rate."
            )


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        header: of the file.
        stored_bytes: of the scene's numbers before.
        compressed_bytes: of the file.
        samples: numbers in the scene.
        error, angle: the largest that any sample and any spectrum has; 0 when nothing is lost.
    """

    header: Header
    stored_bytes: int
    compressed_bytes: int
    samples: int
    error: float
    angle: float

    @property
    def bits_per_sample(self) -> float:
        """Bits that a number of the scene takes in the file."""
        return 8 * self.compressed_bytes / self.samples


def compress_scene(
    scene: xr.DataArray,
    path: str | Path,
    wish: Wish | None = None,
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
    tile_side: int = TILE_SIDE,
    codec: "Codec | None" = None,
    alone: bool = False,
) -> Outcome:
    """Write a scene as a compressed file.

    Args:
        scene: as ``open_scene`` gives it: then the numbers its file stores are kept, with their scale. Of any
            other scene it is the physical values, in single precision.
        path: of the file.
        wish: what may be lost; None for nothing.
        progress: reports tiles.
        overwrite: whether an existing file may be replaced.
        tile_side: of a tile, pixels.
        codec: a learned one for all bands of the scene; within a bound its residual is coded, and where
            prediction gives a smaller tile that is taken.
        alone: take the learned codec for every tile, and its latents alone where there is no bound.

    Raises:
        SceneError: the scene cannot be read.
        OutputError: the file cannot be written.
        ParameterError: no error brings the file down to the rate that was asked for.
    """
    progress = progress or Progress()
    wish = wish or Wish()
    job = _Job.of(scene, wish, tile_side)
    if codec is not None:
        job = job.with_codec(codec, wish, alone=alone)
    target = Path(path)
    if target.exists() and target.resolve() == Path(scene.attrs.get("source", "")).resolve():
        raise OutputError(f"The output {target} is the scene that is read.", "Choose another name.")
    if wish.rate is None:
        return job.write(target, progress, overwrite=overwrite)
    if job.header.guarantee == "none":
        try:
            return job.write(target, progress, overwrite=overwrite, rate=wish.rate)
        except _TooLarge as excess:
            raise ParameterError(
                f"Latents and model take {wish.rate + excess.bits:.2f} bits a sample, not {wish.rate:g}.",
                "Ask for a higher rate, or take a codec of a lower one.",
            ) from None
    error = job.error_at(wish.rate, progress.part(0.0, 0.2))
    for _ in range(ATTEMPTS):
        try:
            return job.with_error(error).write(
                target, progress.part(0.2, 1.0), overwrite=overwrite, rate=wish.rate
            )
        except _TooLarge as excess:
            # The tiles that were tried compressed better than the others.
            error = job.larger(error, excess.bits)
    raise ParameterError(
        f"{target} takes more than {wish.rate:g} bits a sample even with errors of {error:g}.",
        "Ask for a higher rate.",
    )


def verify(scene: xr.DataArray, path: str | Path, progress: Progress | None = None) -> None:
    """Decompress a file and compare every sample with the scene that it was made from.

    Raises:
        OutputError: one is further off than the file promises.
    """
    progress = progress or Progress()
    source = HszSource(HszFile.open(path))
    header = source.file.header
    numbers = stored_scene(scene).numbers

    def farthest(tile: int) -> tuple[float, float]:
        given, decoded = numbers.read(*header.window(tile)), source.decode(tile)
        if header.guarantee == "lossless":
            return (0.0 if given.tobytes() == decoded.tobytes() else np.inf), 0.0
        error = largest_error(given, decoded, missing(given, numbers.calibration.nodata))
        return error, largest_angle(given, decoded, numbers.calibration)

    for tile, (error, angle) in enumerate(in_order(farthest, range(header.tiles))):
        progress.check()
        off = {"max_angle": angle, "none": 0.0}.get(header.guarantee, error)
        if off > header.bound:
            raise OutputError(
                f"Tile {tile + 1} of {header.tiles} in {path} is off by {off:g}, more than {header.bound:g}.",
                "This is a defect: please report it. Do not rely on the file.",
            )
        progress.report((tile + 1) / header.tiles, f"Reading back tile {tile + 1:,} of {header.tiles:,}")


class _TooLarge(Exception):
    """A file misses its rate by so many bits a sample."""

    def __init__(self, bits: float) -> None:
        super().__init__(bits)
        self.bits = bits


@dataclass(frozen=True, eq=False)
class _Job:
    """A scene, and how each of its tiles is compressed."""

    stored: StoredScene
    header: Header
    calibration: Calibration
    learned: "LearnedCodec | None" = None
    alone: bool = False

    @classmethod
    def of(cls, scene: xr.DataArray, wish: Wish, tile_side: int) -> Self:
        stored = stored_scene(scene)
        shape = (scene.sizes["band"], scene.sizes["y"], scene.sizes["x"])
        header = describe(scene, stored, tile_grid(shape, tile_side))
        if wish.max_error:
            header = replace(header, guarantee="max_error", bound=wish.max_error)
        elif wish.max_angle:
            header = replace(header, guarantee="max_angle", bound=wish.max_angle)
        return cls(stored, header, stored.numbers.calibration)

    def with_error(self, error: float) -> "_Job":
        """The same job with errors up to this; 0 for none."""
        guarantee = "max_error" if error else "lossless"
        return replace(self, header=replace(self.header, guarantee=guarantee, bound=error))

    def with_codec(self, codec: "Codec", wish: Wish, *, alone: bool) -> "_Job":
        """The same job with a learned codec; without a bound, if it shall be used alone.

        Raises:
            ModelError: the codec takes another number of bands.
            ParameterError: the samples are not such that it could keep a bound.
        """
        # Only now, because it loads PyTorch.
        from hsi_toolkit.compression.learned import LearnedCodec, suits

        bands = self.header.shape[0]
        if codec.bands != bands:
            raise ModelError(
                f"The codec takes {codec.bands} bands, the scene has {bands}.",
                "Cut the scene to its bands with 'hsi export', or train a codec on such scenes.",
            )
        bounded = wish.rate is None and (not alone or wish != Wish())
        samples = self.read(self.header.tiles // 2)
        if bounded and not suits(samples):
            raise ParameterError(
                f"A learned codec keeps no bound on samples of the type {self.header.dtype}.",
                "Compress without a model, or let nothing bound the error.",
            )
        centre = tuple(slice(max(0, size // 2 - 16), size // 2 + 16) for size in samples.shape[1:])
        learned = LearnedCodec.of(codec, samples.dtype, self.header.quantity)
        error = (wish.max_error or 0.0) if bounded else None
        learned = learned.tuned(samples[(slice(None), *centre)], self.calibration.nodata, error, wish.rate)
        header = replace(
            self.header,
            codec=codec.name,
            codec_config=dict(codec.config),
            codec_use=learned.use,
            guarantee=self.header.guarantee if bounded else "none",
        )
        return replace(self, header=header, learned=learned, alone=alone)

    def write(self, path: Path, progress: Progress, *, overwrite: bool, rate: float | None = None) -> Outcome:
        """Compress all tiles. Raises _TooLarge when the file would take more than ``rate``."""
        header = self.header
        samples = int(np.prod(header.shape))
        pace = Pace(
            progress, f"Compressing: {header.tiles} tiles", header.shape[1] * header.shape[2], "pixels"
        )
        error, angle, used = 0.0, 0.0, False
        with HszWriter(path, header, overwrite=overwrite) as writer:
            for tile, encoded in enumerate(in_order(self.encode, range(header.tiles))):
                progress.check()
                writer.write(tile, encoded.data)
                used = used or encoded.data[:1] in LEARNED
                error, angle = max(error, encoded.error), max(angle, encoded.angle)
                pace.report((tile + 1) / header.tiles, f"Writing tile {tile + 1:,} of {header.tiles:,}")
            if self.learned is not None and used:
                writer.write_model(self.learned.model())
            size = writer.size
            if rate is not None and 8 * size > rate * samples:
                raise _TooLarge(8 * size / samples - rate)
        itemsize = self.stored.numbers.dtype.itemsize
        return Outcome(header, samples * itemsize, size, samples, error, angle)

    def encode(self, tile: int) -> Encoded:
        """A tile within the bound of the header."""
        samples = self.read(tile)
        if self.header.guarantee == "max_angle":
            return encode_within_angle(samples, self.calibration, self.header.bound, self.encode_tile)
        if self.header.guarantee == "none" and self.learned is not None:
            encoded = self.learned.encode_unbounded(samples, self.calibration.nodata)
            return measured(samples, self.calibration, *encoded)
        return encode_within_error(samples, self.calibration, self.header.bound, self.encode_tile)

    def encode_tile(self, samples: Stored, nodata: Nodata, error: float) -> tuple[bytes, Stored]:
        """By the learned codec, by prediction, or by what gives less."""
        if self.learned is None:
            return encode_tile(samples, nodata, error)
        learned = self.learned.encode(samples, nodata, error)
        if self.alone:
            return learned
        return min(learned, encode_tile(samples, nodata, error), key=lambda each: len(each[0]))

    def read(self, tile: int) -> Stored:
        """A tile as stored."""
        return self.stored.numbers.read(*self.header.window(tile))

    def error_at(self, rate: float, progress: Progress) -> float:
        """The error at which some tiles spread over the scene take so many bits a sample."""
        chosen = np.unique(np.linspace(0, self.header.tiles - 1, SAMPLED_TILES).round().astype(int))
        tiles = [self.read(tile) for tile in chosen.tolist()]
        count = sum(tile.size for tile in tiles)
        overhead = 8 * len(self.header.to_json()) / int(np.prod(self.header.shape))
        progress.report(0.0, "Looking for the error that gives the rate")

        def size(error: float) -> float:
            progress.check()
            each = in_order(lambda tile: encode_tile(tile, self.calibration.nodata, error)[0], tiles)
            return 8 * sum(len(data) for data in each) / count + overhead

        return error_for_rate(size, self._usual_error(tiles), rate, whole=self._whole)

    def larger(self, error: float, excess: float) -> float:
        """An error that takes so many bits a sample less."""
        grown = max(error, self._usual_error([self.read(0)]) / 64) * 2.0 ** (excess + 0.05)
        return float(np.floor(grown)) + 1 if self._whole else grown

    @property
    def _whole(self) -> bool:
        return self.stored.numbers.dtype.kind in "iu"

    def _usual_error(self, tiles: Sequence[Stored]) -> float:
        """About a hundredth of how much the samples differ."""
        spreads = []
        for tile in tiles:
            absent = missing(tile, self.calibration.nodata)
            known = tile.reshape(-1) if absent is None else tile[~absent]
            spreads.append(float(known.std()) if known.size else 0.0)
        return max(max(spreads) / 100, 1.0 if self._whole else 1e-30)


def describe(scene: xr.DataArray, stored: StoredScene, grid: tuple[int, int]) -> Header:
    """The header of a scene's file, lossless, with bands in the order in which the scene's file has them."""
    in_file = np.argsort(stored.places)
    calibration = stored.numbers.calibration
    bands = scene.sizes["band"]

    def each_band(name: str) -> list[Any] | None:
        return scene[name].to_numpy()[in_file].tolist() if name in scene.coords else None

    def listed(values: NDArray[np.float64] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(np.broadcast_to(values, bands).tolist())

    numbers = each_band("band")
    nodata, transform = calibration.nodata, scene.rio.transform()
    good = each_band("good")
    return Header(
        shape=(bands, scene.sizes["y"], scene.sizes["x"]),
        dtype=stored.numbers.dtype.name,
        grid=grid,
        nodata=tuple(nodata.tolist()) if isinstance(nodata, np.ndarray) else nodata,
        scale=listed(calibration.scale),
        offset=listed(calibration.offset),
        band_numbers=None if numbers is None or numbers == list(range(1, bands + 1)) else tuple(numbers),
        quantity=str(scene.attrs.get("quantity", "dn")),
        units=scene.attrs.get("units"),
        sensor=scene.attrs.get("sensor"),
        acquired=scene.attrs.get("acquired"),
        wavelength=_tuple(each_band("wavelength")),
        fwhm=_tuple(each_band("fwhm")),
        good=None if good is None or all(good) else tuple(good),
        crs=scene.rio.crs.to_wkt() if scene.rio.crs is not None else None,
        transform=None if transform.is_identity else tuple(transform)[:6],
    )


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)
