"""Learned codecs in tiles: quantised latents, and where an error is bounded the coded residual.

Networks run in double precision on the processor. Their outputs then differ between machines by far less than
``DOUBT``; the few samples that such a difference could round otherwise are listed beside, and all are held
against a checksum, so that a bound is kept or the tile is refused.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from hsi_toolkit.compression import predictive
from hsi_toolkit.compression.interlace import Interlacing, interlace
from hsi_toolkit.compression.numbers import Stored
from hsi_toolkit.compression.pieces import Pieces, deflate, inflate, join_pieces
from hsi_toolkit.compression.setting import Nodata, Setting, missing
from hsi_toolkit.compression.tile import BOUNDED, UNBOUNDED, decode_tile, encode_tile, kept
from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.codecs import Codec, codec_from_config

Float64 = NDArray[np.float64]
Whole = NDArray[np.int64]

DOUBT = 1e-6
"""Outputs, in stored numbers, closer than this to a half are listed."""

PIXELS_AT_ONCE = 2048
"""Spectra that a codec without neighbours takes at a time: its activations are hundreds of times larger."""

LARGEST_LATENT = 1 << 31
NO_RESIDUAL = -(1 << 31)
STEPS_TRIED = range(0, 11, 2)
_CHECKSUM = struct.Struct("<IQ")


@dataclass(frozen=True, eq=False)
class LearnedCodec:
    """A codec, and how a file uses it.

    Attributes:
        codec: the network, in double precision.
        low, high: stored numbers that are its 0 and 1.
        step: of the quantised latent.
    """

    codec: Codec
    low: float
    high: float
    step: float

    @classmethod
    def of(cls, codec: Codec, dtype: np.dtype[np.number], quantity: str) -> Self:
        """For whole numbers 0 to 10,000 as the data set has them; reflectance 0 to 1, if it is floating."""
        high = 1.0 if dtype.kind == "f" and quantity == "reflectance" else 10_000.0
        return cls(codec.double().eval(), 0.0, high, 1e-3)

    @classmethod
    def from_model(cls, model: bytes, name: str, config: dict[str, Any], use: tuple[float, ...]) -> Self:
        """The codec in a file. Raises ModelError when its parts do not fit each other."""
        try:
            tensors = load(model)
            # Sizes come from the tensors that are there: nothing is allocated for the configuration.
            with torch.device("meta"):
                codec = codec_from_config(name, config)
            codec.load_state_dict(tensors, strict=True, assign=True)
        except (SafetensorError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise ModelError(
                f"The learned codec in the file is damaged: {reason}.", "Copy it again."
            ) from error
        return cls(codec.double().eval(), *use)

    def model(self) -> bytes:
        """The network's parameters, single precision, as safetensors."""
        state = {name: each.contiguous() for name, each in self.codec.float().state_dict().items()}
        data = save(state)
        self.codec.double()
        return data

    @property
    def use(self) -> tuple[float, float, float]:
        """Range and step, for ``from_model``."""
        return self.low, self.high, self.step

    def encode(self, samples: Stored, nodata: Nodata, error: float) -> tuple[bytes, Stored]:
        """A tile of whole numbers within an error; as ``tile.encode_tile``."""
        latent, stream = self._encode_latent(samples, nodata)
        exact = self._restore(latent, samples.shape)
        rounded = np.rint(exact)
        doubtful = np.flatnonzero(np.abs(exact - np.floor(exact) - 0.5).reshape(-1) < DOUBT)
        absent = missing(samples, nodata)
        residual = samples.astype(np.int64) - rounded.astype(np.int64)
        if absent is not None:
            residual[absent] = NO_RESIDUAL
        listed = np.stack([doubtful, rounded.reshape(-1)[doubtful].astype(np.int64)])
        coded, decoded = encode_tile(residual.astype(np.int32), float(NO_RESIDUAL), error)
        checksum = _CHECKSUM.pack(_checksum(rounded), doubtful.size)
        # Where no residual is, the tile says itself what stands there.
        outside = _absent_words(samples, nodata)
        data = BOUNDED + join_pieces(
            (stream, checksum + deflate(listed.astype("<i8").tobytes()), outside, coded)
        )
        result = _as_stored(decoded.astype(np.int64) + rounded.astype(np.int64), samples.dtype)
        if absent is not None:
            result[absent] = samples[absent]
        if error and not kept(samples, result, nodata, error):
            return self.encode(samples, nodata, 0.0)
        return data, result

    def encode_unbounded(self, samples: Stored, nodata: Nodata) -> tuple[bytes, Stored]:
        """A tile of latents alone, without a bound."""
        latent, stream = self._encode_latent(samples, nodata)
        setting = Setting.of(samples, nodata)
        data = UNBOUNDED + join_pieces((stream, *setting.to_pieces()))
        return data, self._placed(latent, setting, samples.shape, samples.dtype)

    def decode(self, data: bytes, shape: tuple[int, int, int], dtype: np.dtype[np.number]) -> Stored:
        """A tile that ``encode`` or ``encode_unbounded`` made. Raises ValueError."""
        pieces = Pieces(data[1:])
        latent = self._decode_latent(pieces.next(), shape)
        if data[:1] == UNBOUNDED:
            return self._placed(latent, Setting.from_pieces(pieces, shape, dtype), shape, dtype)
        rounded = np.rint(self._restore(latent, shape))
        self._settle(rounded.reshape(-1), pieces.next())
        outside = pieces.next()
        residual = decode_tile(pieces.next(), shape, np.dtype(np.int32)).astype(np.int64)
        out = _as_stored(residual + rounded.astype(np.int64), dtype)
        absent = residual == NO_RESIDUAL
        if absent.any():
            word = np.frombuffer(outside, dtype.newbyteorder("<"))
            if len(word) != 1:
                raise ValueError("what stands for no data is missing")
            out[absent] = word[0]
        return out

    def tuned(self, samples: Stored, nodata: Nodata, error: float | None, rate: float | None) -> Self:
        """With the step that suits a tile: the smallest tile within an error, or else the least that is lost.

        Args:
            samples, nodata: a typical tile.
            error: the bound, None for latents alone.
            rate: bits a sample that latents may take; None for as many as still help.
        """
        spread = float(self._latent(samples, nodata).std()) or 1.0
        tried = [replace(self, step=spread * 2.0**-halvings) for halvings in STEPS_TRIED]
        if error is not None:
            return min(tried, key=lambda each: len(each.encode(samples, nodata, error)[0]))
        absent = missing(samples, nodata)
        losses = []
        for each in tried:
            data, decoded = each.encode_unbounded(samples, nodata)
            difference = np.square(samples.astype(np.float64) - decoded.astype(np.float64))
            known = True if absent is None else ~absent
            losses.append((8 * len(data) / samples.size, float(difference.mean(where=known))))
        if rate is not None:
            within = [number for number, (bits, _) in enumerate(losses) if bits <= rate]
            return tried[min(within, key=lambda number: losses[number][1], default=0)]
        # Beyond this the quantisation is lost in what the network itself loses.
        best = min(loss for _, loss in losses)
        return next(each for each, (_, loss) in zip(tried, losses, strict=True) if loss <= 1.02 * best)

    def _latent(self, samples: Stored, nodata: Nodata) -> Float64:
        """The latent of a tile, padded to what the network takes, without the batch."""
        image = (samples.astype(np.float64) - self.low) / (self.high - self.low)
        absent = missing(samples, nodata)
        if absent is not None:
            image[absent] = 0.0
        np.clip(image, 0.0, 1.0, out=image)
        down, right = (-size % self.codec.spatial_step for size in image.shape[1:])
        padded = torch.from_numpy(np.pad(image, ((0, 0), (0, down), (0, right)), mode="edge"))
        with torch.no_grad():
            parts = [self.codec.compress(part[None])[0] for part in self._strips(padded)]
        latent: Float64 = torch.cat(parts, dim=-2).numpy()
        return latent

    def _strips(self, image: torch.Tensor) -> Iterator[torch.Tensor]:
        """An image or latent (…, rows, columns) whole, or a few rows at a time where pixels stand alone."""
        rows = image.shape[-2] if self.codec.spatial_step > 1 else max(1, PIXELS_AT_ONCE // image.shape[-1])
        yield from torch.split(image, rows, dim=-2)

    def _encode_latent(self, samples: Stored, nodata: Nodata) -> tuple[Whole, bytes]:
        latent = np.clip(np.rint(self._latent(samples, nodata) / self.step), -LARGEST_LATENT, LARGEST_LATENT)
        whole = latent.astype(np.int64)
        pixels, flat = _as_tile(whole)
        return whole, predictive.encode(flat[:, pixels.order], pixels)[0]

    def _decode_latent(self, stream: bytes, shape: tuple[int, int, int]) -> Whole:
        step = self.codec.spatial_step
        rows, columns = (-(-size // step) * step for size in shape[1:])
        whole = np.zeros(self.codec.latent_shape(rows, columns), np.int64)
        pixels, flat = _as_tile(whole)
        flat[:, pixels.order] = predictive.decode(stream, len(flat), pixels)
        return flat.reshape(whole.shape)

    def _restore(self, latent: Whole, shape: tuple[int, ...]) -> Float64:
        """What the network makes of a latent, in stored numbers, (bands, rows, columns)."""
        tensor = torch.from_numpy(latent * self.step)
        with torch.no_grad():
            parts = [self.codec.decompress(part[None])[0] for part in self._strips(tensor)]
        image: Float64 = torch.cat(parts, dim=-2).numpy()[:, : shape[1], : shape[2]]
        limit = float(1 << 30)
        return np.clip(image * (self.high - self.low) + self.low, -limit, limit)

    def _placed(
        self, latent: Whole, setting: Setting, shape: tuple[int, ...], dtype: np.dtype[np.number]
    ) -> Stored:
        """The tile of latents alone; what is set aside is kept exactly."""
        image = self._restore(latent, shape).reshape(shape[0], -1)
        image = image[np.ix_(setting.coded, setting.pixels.order)]
        coded = _as_stored(np.rint(image), dtype) if dtype.kind in "iu" else image.astype(dtype)
        return setting.stored(coded).reshape(shape)

    def _settle(self, rounded: Float64, said: bytes) -> None:
        """Round the listed samples as the coder did, and make sure that all are what they were there."""
        if len(said) < _CHECKSUM.size:
            raise ValueError("the checksum of the learned codec is missing")
        checksum, count = _CHECKSUM.unpack_from(said)
        if count > rounded.size:
            raise ValueError("the list of doubtful samples is damaged")
        listed = np.frombuffer(inflate(said[_CHECKSUM.size :], 16 * count), "<i8").reshape(2, count)
        if count and not 0 <= listed[0].min() <= listed[0].max() < rounded.size:
            raise ValueError("the list of doubtful samples is damaged")
        rounded[listed[0]] = listed[1]
        if _checksum(rounded) != checksum:
            raise ValueError("the learned codec gives other numbers on this machine")


def suits(samples: Stored) -> bool:
    """Whether a learned codec can keep a bound on such samples: whole numbers of up to 16 bits."""
    return samples.dtype.kind in "iu" and samples.dtype.itemsize <= 2


def _as_stored(values: NDArray[Any], dtype: np.dtype[np.number]) -> Stored:
    """Whole numbers in their type, those beyond it at its ends."""
    limits = np.iinfo(dtype.name)
    stored: Stored = np.clip(values, limits.min, limits.max).astype(dtype)
    return stored


def _as_tile(latent: Whole) -> tuple[Interlacing, Whole]:
    """A latent (…, rows, columns) as bands of pixels, and the order in which these are coded."""
    rows, columns = latent.shape[-2:]
    return interlace(np.ones((rows, columns), bool)), latent.reshape(-1, rows * columns)


def _checksum(rounded: Float64) -> int:
    return zlib.crc32(rounded.astype("<i4").tobytes())


def _absent_words(samples: Stored, nodata: Nodata) -> bytes:
    """The number that stands for no data, if there is any."""
    absent = missing(samples, nodata)
    if absent is None:
        return b""
    return samples[absent][:1].astype(samples.dtype.newbyteorder("<")).tobytes()
