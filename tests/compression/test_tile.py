"""Tiles come back as they were, or within their error, whatever they hold."""

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hsi_toolkit.compression.tile import decode_tile, encode_tile
from tests.compression.cubes import natural

SHAPES = st.tuples(st.integers(1, 19), st.integers(1, 11), st.integers(1, 11))
TYPES = (
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    ">i2",
)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@st.composite
def cubes(draw: st.DrawFn, types: tuple[str, ...]) -> np.ndarray:
    """Anything at all, or smooth numbers with anything at all at some places."""
    dtype = np.dtype(draw(st.sampled_from(types)))
    cube = draw(arrays.arrays(dtype, SHAPES))
    if draw(st.booleans()):
        smooth = (np.add.outer(np.arange(len(cube)) * 3, np.arange(cube[0].size) % 29) % 100).reshape(
            cube.shape
        )
        cube = np.where(draw(arrays.arrays(bool, cube.shape)), cube, smooth.astype(dtype)).astype(dtype)
    return cube


@settings(max_examples=120, deadline=None)
@given(cubes(TYPES), st.sampled_from([None, 0.0, -1.0, 99.0, float("nan")]))
def test_any_cube_comes_back_to_the_last_bit(cube: np.ndarray, nodata: float | None) -> None:
    data, decoded = encode_tile(cube, nodata)
    native = cube.astype(cube.dtype.newbyteorder("="))
    assert same_bits(decode_tile(data, cube.shape, cube.dtype), native)
    assert same_bits(decoded, native)


@settings(max_examples=120, deadline=None)
@given(cubes(TYPES), st.sampled_from([None, 0.0, 7.0]), st.sampled_from([0.25, 1.0, 5.0, 20.0, 3e4]))
def test_no_sample_of_any_cube_is_off_by_more_than_the_error(
    cube: np.ndarray, nodata: float | None, error: float
) -> None:
    data, promised = encode_tile(cube, nodata, error)
    decoded = decode_tile(data, cube.shape, cube.dtype)
    assert same_bits(decoded, promised)
    exact = object if cube.dtype.kind in "iu" else np.float64
    known = np.isfinite(cube) & (cube != nodata) if cube.dtype.kind == "f" else cube != nodata
    difference = np.abs(cube[known].astype(exact) - decoded[known].astype(exact))
    assert all(each <= error for each in difference)
    if nodata is not None:
        assert np.array_equal(cube == nodata, decoded == nodata)


def test_payloads_of_nan_and_the_sign_of_zero_survive() -> None:
    cube = natural().astype(np.float32) * np.float32(0.37)
    cube.view(np.uint32)[5, 3, :6] = [0x7FC12345, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000]
    cube[2, 2, 2], cube[2, 2, 3] = 1e-42, 3e38
    assert same_bits(decode_tile(encode_tile(cube)[0], cube.shape, cube.dtype), cube)


@pytest.mark.parametrize("scaled", [lambda c: c / np.float32(1e4), lambda c: c * np.float32(1e-4)])
def test_decimals_in_single_precision_take_no_more_than_the_counts_they_came_from(scaled) -> None:
    counts = natural()
    decimals = scaled(counts.astype(np.float32))
    data, _ = encode_tile(decimals)
    assert same_bits(decode_tile(data, decimals.shape, decimals.dtype), decimals)
    assert len(data) < 1.02 * len(encode_tile(counts)[0])


def test_noise_of_known_strength_takes_little_more_than_its_entropy() -> None:
    """Gaussian noise of deviation s carries log2(s sqrt(2 pi e)) bits."""
    cube = natural(bands=40, rows=64, columns=64, noise=8.0)
    bits = 8 * len(encode_tile(cube)[0]) / cube.size
    assert bits < 1.06 * np.log2(8.0 * np.sqrt(2 * np.pi * np.e))


def test_an_error_saves_bits() -> None:
    cube = natural(bands=40, rows=64, columns=64)
    sizes = [len(encode_tile(cube, None, error)[0]) for error in (0, 1, 5, 20)]
    assert sizes[1] < 0.75 * sizes[0]
    assert sizes[2] < 0.6 * sizes[1]
    assert sizes[3] < 0.5 * sizes[2]


def test_pixels_without_data_cost_next_to_nothing_declared_or_not() -> None:
    cube = natural()
    cube[:, :, 15:] = 0
    whole = len(encode_tile(natural()[:, :, :15])[0])
    for nodata in (0.0, None):
        data, _ = encode_tile(cube, nodata)
        assert same_bits(decode_tile(data, cube.shape, cube.dtype), cube)
        assert len(data) < whole + 200


def test_spikes_do_not_spoil_what_lies_around_them() -> None:
    cube = np.full((30, 64, 64), 100, np.int16)
    cube[np.random.default_rng(0).random(cube.shape) < 1e-3] = 32767
    assert 8 * len(encode_tile(cube)[0]) / cube.size < 1


def test_a_decoded_sample_never_becomes_no_data() -> None:
    cube = natural()
    cube -= 1500
    cube[0, 0] = 0
    decoded = encode_tile(cube, 0.0, 50.0)[1]
    assert np.array_equal(decoded == 0, cube == 0)


def counted() -> np.ndarray:
    """A cube of whole-number arithmetic alone, the same on any machine."""
    band, y, x = np.mgrid[:12, :9, :9]
    rough = (band * y * 7919 + x * 104729 + band * band * 31) % 23
    return (700 + 40 * band + 3 * y * x + rough).astype(np.int16)


WRITTEN_BY_VERSION_1 = (
    "F#rGn01E&B0C=2ZVnP4_0H^>N000002mk;8c$@<O000012><{90eGAP000000RaF20BM*3006uK00000004jj00000000930"
    "01Na004N}`}yzxe=P<E26Z6Tz=1W9*s7A^ViFP(;*t{LQUEQ?2HYGu>@!eGcCQ~rC+%?4mO2F>1OG}z6{yS}^XH*aZNmicar"
    "XP2$iw!7E3@&>5eqQJzXn~8(3i5@fT7+lEunrsskR1u6oa2tg`ko)?3bbp&N;4YhD&i8wEvmb!nBC&f2LBiN~M>a7fnj4{!S"
    "&a>Sy;`c&!~I38{?!Bc4ab-6X)le~<gzZmkYcMdZO|WvKJo#5IX*x@`=EXhiqpaIe~bHidtXJBoiz&~3v=OTFerfL3d*x57("
    "<VpVv|Fo(l{|4F?8;_u}LjzgjL|D*j-QhBxpX4wJ+*3}B%n%C0euGB@*8w>zNk&vsd$=YflNni!^=m^@|Wi%`jflRa(_LG;w"
    "{Tp|?1Z+VC*Yb`>0hXN5G{+0SNc=(&G$+F34t-8^j|6==_aM6%hmA?|))mnNCjM8RsXeNMUkNx!Kjp&2!?=Ew*i)5DEyI@`P"
    "nK5rS8D"
)
"""``counted`` within an error of 3."""


def test_a_file_written_once_is_read_for_ever() -> None:
    """Decoding repeats all that the coder learnt: a change anywhere in it asks for a new version."""
    cube = counted()
    decoded = decode_tile(base64.b85decode(WRITTEN_BY_VERSION_1), cube.shape, cube.dtype)
    assert np.abs(decoded.astype(int) - cube).max() == 3
    assert same_bits(decoded, encode_tile(cube, None, 3.0)[1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_tiles_are_refused_or_decoded_but_nothing_else_happens(data: st.DataObject) -> None:
    cube = natural(bands=9, rows=12, columns=13)
    stream = bytearray(encode_tile(cube, 1500.0, data.draw(st.sampled_from([0.0, 3.0])))[0])
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    try:
        decoded = decode_tile(bytes(stream), cube.shape, cube.dtype)
    except ValueError:
        return
    assert decoded.shape == cube.shape
