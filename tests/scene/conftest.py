"""Small cubes written in every way a test wants."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
DATA_TYPES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}

WriteEnvi = Callable[..., Path]


@pytest.fixture
def cube() -> np.ndarray:
    """Five bands, seven rows, six columns of whole numbers that are all different."""
    return np.arange(5 * 7 * 6).reshape(5, 7, 6)


@pytest.fixture
def write_envi(tmp_path: Path) -> WriteEnvi:
    """Write a cube (band, y, x) as ENVI; returns the header. ``extra`` are lines of the header."""

    def write(
        cube: np.ndarray,
        *,
        name: str = "cube",
        suffix: str = ".img",
        dtype: str = "i2",
        interleave: str = "bsq",
        big_endian: bool = False,
        offset: int = 0,
        compressed: bool = False,
        extra: str = "",
        replace: dict[str, str] | None = None,
    ) -> Path:
        stored = cube.transpose(AXES[interleave]).astype((">" if big_endian else "<") + dtype)
        content = b"\xaa" * offset + stored.tobytes()
        (tmp_path / (name + suffix)).write_bytes(gzip.compress(content) if compressed else content)
        bands, lines, samples = cube.shape
        fields = {
            "samples": samples,
            "lines": lines,
            "bands": bands,
            "header offset": offset,
            "data type": DATA_TYPES[dtype],
            "interleave": interleave,
            "byte order": int(big_endian),
            "file compression": int(compressed),
        } | (replace or {})
        text = "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in fields.items()) + extra
        header = tmp_path / f"{name}.hdr"
        header.write_text(text, encoding="utf-8")
        return header

    return write
