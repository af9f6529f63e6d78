"""What of a tile needs no prediction: samples without data, and bands that hold one value."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.compression.interlace import Interlacing, interlace
from hsi_toolkit.compression.pieces import Mask, Pieces, deflate, inflate, pack_mask, unpack_mask
from hsi_toolkit.scene.lazy import is_nodata

Stored = NDArray[np.number]
Nodata = float | NDArray[np.float64] | None
Words = NDArray[np.unsignedinteger]

FEWEST_BANDS = 4
FLAT_SHARE = 1 / 256

ABSENT, CONSTANT, CODED = range(3)
"""Kinds of bands: without any data, with one value, with several."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Where a tile has data, and all else that is not predicted.

    Attributes:
        valid: (rows, columns) pixels with data in any band.
        kinds: (bands,) of ``ABSENT``, ``CONSTANT`` and ``CODED``.
        constants: the values of the constant bands, as words.
        known: (bands that are not absent, pixels in the order of coding) where there are data; None for all.
        absent: the words of all samples without data, band by band; only one where they are all alike.

    Pixels whose bands all hold one value are taken for pixels without data, whatever they are.
    """

    valid: Mask
    kinds: NDArray[np.uint8]
    constants: Words
    known: Mask | None
    absent: Words

    @classmethod
    def of(cls, samples: Stored, nodata: Nodata) -> "Setting":
        """The setting of a tile (bands, rows, columns); nodata as in ``Calibration``."""
        words = _words(samples).reshape(len(samples), -1)
        without = missing(samples, nodata)
        flat = _flat(words)
        if flat is not None:
            without = np.zeros(samples.shape, bool) if without is None else without
            without |= flat.reshape(samples.shape[1:])
        if without is None:
            kinds = np.where((words == words[:, :1]).all(axis=1), CONSTANT, CODED).astype(np.uint8)
            constants = words[kinds == CONSTANT, 0]
            return cls(np.ones(samples.shape[1:], bool), kinds, constants, None, words[:0, 0])
        without = without.reshape(words.shape)
        valid: Mask = np.logical_not(without.all(axis=0)).reshape(samples.shape[1:])
        kinds = np.full(len(words), ABSENT, np.uint8)
        constants = []
        for band in np.flatnonzero(~without.all(axis=1)):
            values = words[band, ~without[band]]
            kinds[band] = CODED if (values != values[0]).any() else CONSTANT
            constants += [values[0]] if kinds[band] == CONSTANT else []
        absent = words[without]
        absent = absent[:1] if (absent == absent[0]).all() else absent
        known = ~without[kinds != ABSENT][:, _pixels(valid).order]
        return cls(valid, kinds, np.array(constants, words.dtype), None if known.all() else known, absent)

    @cached_property
    def pixels(self) -> Interlacing:
        """The order in which the valid pixels are coded."""
        return _pixels(self.valid)

    @property
    def coded(self) -> NDArray[np.intp]:
        """The bands that are predicted."""
        return np.flatnonzero(self.kinds == CODED)

    @property
    def coded_known(self) -> Mask | None:
        """(coded bands, pixels) where there are data; None for everywhere."""
        return None if self.known is None else self.known[self.kinds[self.kinds != ABSENT] == CODED]

    def to_pieces(self) -> tuple[bytes, ...]:
        """For ``from_pieces``."""
        known = b"" if self.known is None else pack_mask(self.known)
        alike = bytes([len(self.absent) <= 1])
        return (
            pack_mask(self.valid),
            deflate(self.kinds.tobytes()),
            known,
            _packed(self.constants),
            alike + _packed(self.absent),
        )

    @classmethod
    def from_pieces(
        cls, pieces: Pieces, shape: tuple[int, int, int], dtype: np.dtype[np.number]
    ) -> "Setting":
        """The setting of a tile of this shape. Raises ValueError."""
        valid = unpack_mask(pieces.next(), shape[1:])
        kinds = np.frombuffer(inflate(pieces.next(), shape[0]), np.uint8)
        if kinds.max() > CODED:
            raise ValueError("the kind of a band is unknown")
        pixels, bands = int(valid.sum()), int((kinds != ABSENT).sum())
        packed = pieces.next()
        known = unpack_mask(packed, (bands, pixels)) if packed else None
        constants = _unpacked(pieces.next(), int((kinds == CONSTANT).sum()), dtype)
        missing = shape[0] * valid.size - (bands * pixels if known is None else int(known.sum()))
        packed = pieces.next()
        absent = _unpacked(packed[1:], min(missing, 1) if packed[:1] == b"\1" else missing, dtype)
        return cls(valid, kinds, constants, known, absent)

    def stored(self, coded: Stored) -> Stored:
        """The tile (bands, pixels row by row), once its ``coded`` bands (bands, pixels) are known."""
        out = np.empty((len(self.kinds), self.valid.size), coded.dtype)
        inside = np.empty((len(self.kinds), len(self.pixels.order)), coded.dtype)
        inside[self.kinds == CODED] = coded
        inside[self.kinds == CONSTANT] = self.constants.view(coded.dtype)[:, None]
        out[:, self.pixels.order] = inside
        if len(self.absent):
            missing = np.ones(out.shape, bool)
            alive = np.zeros((int((self.kinds != ABSENT).sum()), self.valid.size), bool)
            alive[:, self.pixels.order] = True if self.known is None else self.known
            missing[self.kinds != ABSENT] = ~alive
            out[missing] = self.absent.view(coded.dtype)
        return out


def missing(samples: Stored, nodata: Nodata) -> Mask | None:
    """Where samples (bands, rows, columns) are no data; None for nowhere."""
    without = None if samples.dtype.kind != "f" else ~np.isfinite(samples)
    same: Mask | None = None
    if isinstance(nodata, np.ndarray):
        same = samples == nodata[:, None, None]
    elif nodata is not None:
        same = is_nodata(samples, nodata)
    if same is not None:
        without = same if without is None else without | same
    return without if without is not None and without.any() else None


def _flat(words: Words) -> Mask | None:
    """Pixels of (bands, pixels) with one and the same value in all bands, if there are more than a few.

    These are no data that the file does not call so. They would mislead the prediction of all others.
    """
    if len(words) < FEWEST_BANDS:
        return None
    flat: Mask = words[0] == words[-1]
    candidates = np.flatnonzero(flat)
    if len(candidates) < FLAT_SHARE * words.shape[1]:
        return None
    flat[candidates] = (words[:, candidates] == words[0, candidates]).all(axis=0)
    return flat if flat.sum() >= FLAT_SHARE * words.shape[1] else None


def _pixels(valid: Mask) -> Interlacing:
    return _all_pixels(*valid.shape) if valid.all() else interlace(valid)


@lru_cache(maxsize=8)
def _all_pixels(rows: int, columns: int) -> Interlacing:
    return interlace(np.ones((rows, columns), bool))


def _words(samples: Stored) -> Words:
    words: Words = np.ascontiguousarray(samples).view(f"u{samples.dtype.itemsize}")
    return words


def _packed(words: Words) -> bytes:
    return deflate(words.astype(words.dtype.newbyteorder("<")).tobytes())


def _unpacked(data: bytes, count: int, dtype: np.dtype[np.number]) -> Words:
    word = np.dtype(f"<u{dtype.itemsize}")
    words: Words = np.frombuffer(inflate(data, count * word.itemsize), word).astype(word.newbyteorder("="))
    return words
