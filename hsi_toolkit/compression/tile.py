"""A tile on its own: stored samples of any type in, bytes out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.compression import predictive
from hsi_toolkit.compression.numbers import Stored, Whole, as_whole, can_be_whole, numbers_from_bytes
from hsi_toolkit.compression.pieces import Mask, Pieces, deflate, inflate, join_pieces
from hsi_toolkit.compression.setting import Nodata, Setting, missing

PLAIN, PREDICTIVE = b"0", b"1"
"""The first byte of a tile: bytes in planes through zlib, or prediction."""

LEARNED = BOUNDED, UNBOUNDED = b"2", b"3"
"""That of tiles of learned codecs: latents with a coded residual, or alone. See ``learned``."""

WORTHWHILE = 0.8
"""Prediction that leaves more of a tile than this may be worse than plain bytes: noise."""


def encode_tile(samples: Stored, nodata: Nodata = None, error: float = 0.0) -> tuple[bytes, Stored]:
    """Compress a tile.

    Args:
        samples: (bands, rows, columns) as stored.
        nodata: the number for "no data", one for all bands or one each (NaN: none); kept exactly.
        error: largest absolute difference of all other samples once decoded; 0 for none at all. Every
            sample is checked, and a tile that would exceed it is coded without any.

    Returns:
        What ``decode_tile`` takes and what it will give.
    """
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    setting = Setting.of(samples, nodata)
    known = setting.coded_known
    coded = samples.reshape(len(samples), -1)[np.ix_(setting.coded, setting.pixels.order)]
    if not can_be_whole(_chosen(coded, known)):
        return PLAIN + _in_planes(samples), samples
    numbers, whole = as_whole(_chosen(coded, known), error)
    filled = whole.reshape(coded.shape) if known is None else _filled(whole, known)
    stream, decoded = b"", filled
    if filled.size:
        stream, decoded = predictive.encode(filled, setting.pixels, numbers.error)
    result = samples
    if error > 0:
        restored = _placed(numbers.to_stored(_chosen(decoded, known)), known, coded.shape)
        result = setting.stored(restored).reshape(samples.shape)
        if not kept(samples, result, nodata, error):
            return encode_tile(samples, nodata)
    predicted = PREDICTIVE + join_pieces((*setting.to_pieces(), numbers.to_bytes(), stream))
    if len(predicted) >= WORTHWHILE * samples.nbytes:
        plain = PLAIN + _in_planes(samples)
        if len(plain) < len(predicted):
            return plain, samples
    return predicted, result


def decode_tile(data: bytes, shape: tuple[int, int, int], dtype: np.dtype[np.number]) -> Stored:
    """The tile that ``encode_tile`` was given, or one within its error.

    Args:
        data: of the tile.
        shape: bands, rows and columns.
        dtype: of the samples, in any byte order; the result's is the machine's.

    Raises:
        ValueError: the data are damaged.
    """
    native = dtype.newbyteorder("=")
    if data[:1] == PLAIN:
        return _from_planes(data[1:], shape, native)
    if data[:1] != PREDICTIVE:
        raise ValueError(f"tiles of kind {data[:1]!r} are unknown")
    pieces = Pieces(data[1:])
    setting = Setting.from_pieces(pieces, shape, native)
    known = setting.coded_known
    size = len(setting.coded), len(setting.pixels.order)
    numbers = numbers_from_bytes(pieces.next(), native, size[0] * size[1])
    stream = pieces.next()
    coded = np.zeros(size, native)
    if coded.size:
        whole = predictive.decode(stream, size[0], setting.pixels)
        coded = _placed(numbers.to_stored(_chosen(whole, known)), known, size)
    return setting.stored(coded).reshape(shape)


def kept(samples: Stored, decoded: Stored, nodata: Nodata, error: float) -> bool:
    """Whether no sample is off by more than ``error``, and the same ones are no data."""
    absent, absent_after = missing(samples, nodata), missing(decoded, nodata)
    if absent is None or absent_after is None:
        return absent is absent_after and largest_error(samples, decoded, absent) <= error
    return bool((absent == absent_after).all()) and largest_error(samples, decoded, absent) <= error


def largest_error(samples: Stored, decoded: Stored, absent: Mask | None) -> float:
    """The largest absolute difference, in stored numbers, but for samples that are ``absent``."""
    kind = np.float64 if samples.dtype.kind == "f" else np.int64
    largest = 0.0
    for band, (before, after) in enumerate(zip(samples, decoded, strict=True)):
        with np.errstate(invalid="ignore"):
            difference = np.abs(before.astype(kind) - after.astype(kind))
        known = True if absent is None else ~absent[band]
        largest = max(largest, float(difference.max(initial=0, where=known)))
    return largest


def _placed(chosen: Stored, known: Mask | None, size: tuple[int, ...]) -> Stored:
    """The reverse of ``_chosen``, zero where nothing is known."""
    if known is None:
        return chosen.reshape(size)
    values = np.zeros(size, chosen.dtype)
    values[known] = chosen
    return values


def _chosen(values: NDArray[Any], known: Mask | None) -> NDArray[Any]:
    """The known ones of (bands, pixels), in one row."""
    chosen: NDArray[Any] = values.reshape(-1) if known is None else values[known]
    return chosen


def _filled(whole: Whole, known: Mask) -> Whole:
    """(bands, pixels) with likely numbers where nothing is known: the band before, moved to its mean."""
    values = np.zeros(known.shape, np.int64)
    values[known] = whole
    means = [int(np.rint(band[there].mean())) for band, there in zip(values, known, strict=True)]
    for band, (there, mean) in enumerate(zip(known, means, strict=True)):
        likely = values[band - 1] + (mean - means[band - 1]) if band else np.full(known.shape[1], mean)
        inside = values[band, there]
        values[band, ~there] = np.clip(likely[~there], inside.min(), inside.max())
    return values


def _in_planes(samples: Stored) -> bytes:
    """First bytes of all samples, then second ones: alike bytes side by side."""
    little = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("<"), copy=False))
    return deflate(little.view(np.uint8).reshape(-1, samples.dtype.itemsize).T.tobytes())


def _from_planes(data: bytes, shape: tuple[int, int, int], dtype: np.dtype[np.number]) -> Stored:
    count = int(np.prod(shape))
    planes = np.frombuffer(inflate(data, count * dtype.itemsize), np.uint8).reshape(dtype.itemsize, count)
    little = np.ascontiguousarray(planes.T).view(dtype.newbyteorder("<"))
    return little.reshape(shape).astype(dtype)
