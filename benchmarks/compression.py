"""Compression: lossless and near-lossless .hsz beside what a user would take instead.

    python -m benchmarks.compression [--peers PYTHON] [--scenes NAME,...] [--megabytes 64]

Real scenes are those of ``$HSI_SHARED/scenes`` as cubes of 16-bit integers without nodata; synthetic ones
are the demo's landscape and low-rank mixtures with noise and stripes. Each cube is stored as GeoTIFF (DEFLATE
and ZSTD with predictor 2, LERC; pixel- and band-interleaved, in strips and in tiles), as JPEG 2000 by GDAL,
and by ``imagecodecs`` (JPEG XL, JPEG 2000, JPEG-LS per band; spectral differences through JPEG-LS) where
``--peers`` names a Python that has it. Sizes are those of whole files, headers included. Every file is
decoded and every sample compared; the error of near-lossless files, too. Speeds are of a mixture of
``--megabytes``, file to array, on as many threads as BLAS would use, with the processor's seconds beside.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from benchmarks.scenes import describe, load_array, shared_scenes
from hsi_toolkit.compression.engine import Outcome, Wish, compress_scene
from hsi_toolkit.demo import make_demo_scene
from hsi_toolkit.scene import iter_blocks, open_scene
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.raw import PlainFile, RawSource

Cube = NDArray[np.integer]

SCENES = ("potsdam", "berlin", "jasper", "abu_beach_1", "abu_urban_1", "sandiego")
SIX_BANDS = {"potsdam": 5.70, "berlin": 6.19, "jasper": 6.05, "abu_beach_1": 3.27}
"""Bits a sample of an ideal adaptive code of six-band least-squares residuals, side information included,
measured once elsewhere on the same cubes."""

ERRORS = (1, 5, 20)
GEOTIFFS = {
    f"GeoTIFF {name}, {interleave}-interleaved{', tiled' if tiled else ''}": {
        **options,
        "interleave": interleave,
        "tiled": tiled,
    }
    for name, options in {
        "DEFLATE": {"compress": "deflate", "predictor": 2, "zlevel": 9},
        "ZSTD": {"compress": "zstd", "predictor": 2, "zstd_level": 15},
        "LERC": {"compress": "lerc_zstd", "max_z_error": 0},
    }.items()
    for interleave in ("pixel", "band")
    for tiled in (False, True)
}


@dataclass(frozen=True)
class Size:
    """Bits a sample, and the seconds of coding and decoding."""

    bits: float
    encoding: float
    decoding: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="a Python that has imagecodecs")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--megabytes", type=float, default=64)
    arguments = parser.parse_args()
    gains: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scene, cube in cubes(arguments.scenes.split(","), folder):
            _compare(scene, cube, arguments.peers, folder, gains)
        _say("\nSmaller than, mean over the cubes")
        for family, each in gains.items():
            _say(f"  {family:<34}{100 * np.mean(each):6.1f} %")
        _speed(folder, arguments.megabytes)


def cubes(names: list[str], folder: Path) -> Iterator[tuple[str, Cube]]:
    """The cubes by name: real ones that are there, then synthetic ones."""
    for name in names:
        if (shared_scenes() / name).is_dir():
            yield name, real_cube(name)
        else:
            _say(f"{name}: not there, skipped")
    demo = make_demo_scene(folder / "demo")
    with rasterio.open(demo.scene) as dataset:
        values = dataset.read()
    yield (
        "synthetic landscape",
        values if values.dtype.kind in "iu" else np.rint(values * 1e4).astype(np.int16),
    )
    yield "synthetic mixture", mixture(120, 130, 200)


def real_cube(name: str) -> Cube:
    """A scene's stored integers: of Potsdam its largest block of whole tiles, without the six empty bands."""
    entry = describe(name)["cube"]
    if entry["file"].endswith((".mat", ".npy", ".npz")):
        values = load_array(name, entry)
        if values.dtype.kind not in "iu":
            raise SystemExit(f"{name} holds {values.dtype} numbers")
        return values.astype(np.int16)
    scene = open_scene(shared_scenes() / name / entry["file"]).sortby("band")
    stored = np.empty(scene.shape, np.int16)
    scale = entry.get("scale") or 1.0
    for block in iter_blocks(scene):
        physical = scene.attrs["quantity"] == "reflectance"
        stored[:, block.y0 : block.y1] = np.rint(
            np.nan_to_num(block.core, nan=-32768) / (scale if physical else 1)
        )
    if name != "potsdam":
        return stored
    block = stored[:, 64:192, 96:160]
    return block[(block != -32768).all(axis=(1, 2))]


def mixture(bands: int, rows: int, columns: int, seed: int = 0) -> Cube:
    """Mixtures of ten smooth spectra under noise that grows with the signal, with striped columns, int16."""
    rng = np.random.default_rng(seed)
    position = np.linspace(0, 1, bands)
    spectra = np.stack(
        [2000 + 1500 * np.sin((3 + k) * position * 2 + k) * np.cos(5 * position - k) for k in range(10)]
    )
    y, x = np.mgrid[:rows, :columns] / 25
    shares = np.stack([np.exp(2 * np.sin(y * (1 + k / 7) + k) * np.cos(x - k * y / 3)) for k in range(10)])
    shares /= shares.sum(axis=0)
    signal = (spectra.T @ shares.reshape(10, -1)).reshape(bands, rows, columns)
    signal *= 1 + 0.004 * rng.standard_normal((bands, 1, columns))
    noise = rng.standard_normal(signal.shape) * (3 + 0.2 * np.sqrt(np.maximum(signal, 0)))
    return np.rint(signal + noise).astype(np.int16)


def _compare(name: str, cube: Cube, peers: Path | None, folder: Path, gains: dict[str, list[float]]) -> None:
    _say(f"\n{name}: {' x '.join(map(str, cube.shape))}, bits a sample (16 stored)")
    found = dict(_geotiffs(cube, folder))
    if peers is not None:
        found |= _peers(cube, peers, folder)
    ours, outcome = _hsz(cube, Wish(), folder)
    families = {
        "best GeoTIFF": min((each.bits for key, each in found.items() if "GeoTIFF" in key), default=np.nan),
        **{key: each.bits for key, each in found.items() if "GeoTIFF" not in key},
    }
    for key, each in sorted(found.items(), key=lambda item: -item[1].bits):
        _say(f"  {key:<44}{each.bits:7.3f}")
    _say(f"  {'.hsz lossless':<44}{ours.bits:7.3f}   every sample the same")
    if name in SIX_BANDS:
        length = SIX_BANDS[name]
        _say(f"  {'six-band least squares, code length':<44}{length:7.2f}   {ours.bits / length - 1:+.1%}")
    for family, bits in families.items():
        gains.setdefault(family, []).append(1 - ours.bits / bits)
        _say(f"    {1 - ours.bits / bits:6.1%} below {family}")
    for error in ERRORS:
        lossy, outcome = _hsz(cube, Wish(max_error=error), folder)
        _say(
            f"  {f'.hsz within {error}':<44}{lossy.bits:7.3f}   largest error {outcome.error:g}, "
            f"largest angle {outcome.angle:.3f} degrees"
        )


def _hsz(cube: Cube, wish: Wish, folder: Path) -> tuple[Size, Outcome]:
    """Compress, read back by ``open_scene``, and compare every sample."""
    flat, target = folder / "cube.raw", folder / "cube.hsz"
    flat.write_bytes(cube.tobytes())
    scene = make_scene(RawSource(PlainFile(flat), 0, cube.dtype, "byx", cube.shape), path=flat)
    start = time.perf_counter()
    outcome = compress_scene(scene, target, wish, overwrite=True)
    middle = time.perf_counter()
    # 16-bit integers are exact in single precision.
    decoded = open_scene(target).values
    end = time.perf_counter()
    error = int(np.abs(decoded.astype(np.int64) - cube).max())
    if error > (wish.max_error or 0) or error != outcome.error:
        raise SystemExit(f"the guarantee is broken: {error} instead of {wish.max_error or 0}")
    return Size(8 * target.stat().st_size / cube.size, middle - start, end - middle), outcome


def _geotiffs(cube: Cube, folder: Path) -> Iterator[tuple[str, Size]]:
    drivers = {name: {"driver": "GTiff", "BIGTIFF": "NO", **options} for name, options in GEOTIFFS.items()}
    reversible = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
    for name, options in drivers.items():
        yield name, _by_gdal(cube, options, folder / "cube.tif")
    try:
        planes = [_by_gdal(plane[None], reversible, folder / "cube.jp2") for plane in _unsigned(cube)]
    except RasterioIOError:
        return
    bits, encoding, decoding = (
        np.array([getattr(each, key) for each in planes]) for key in ("bits", "encoding", "decoding")
    )
    yield "JPEG 2000 per band (GDAL)", Size(float(bits.mean()), float(encoding.sum()), float(decoding.sum()))


def _unsigned(cube: Cube) -> Cube:
    return (cube.astype(np.int32) - int(cube.min())).astype(np.uint16)


def _by_gdal(cube: Cube, options: dict[str, object], path: Path) -> Size:
    count, height, width = cube.shape
    profile = {"count": count, "height": height, "width": width, "dtype": cube.dtype.name, **options}
    start = time.perf_counter()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(cube)
    middle = time.perf_counter()
    with rasterio.open(path) as dataset:
        decoded = dataset.read()
    end = time.perf_counter()
    if not np.array_equal(decoded, cube):
        raise SystemExit(f"{options} is not lossless")
    return Size(8 * path.stat().st_size / cube.size, middle - start, end - middle)


def _peers(cube: Cube, python: Path, folder: Path) -> dict[str, Size]:
    np.save(folder / "cube.npy", cube)
    script = Path(__file__).with_name("compression_peers.py")
    done = subprocess.run(
        [python, script, folder / "cube.npy"], capture_output=True, text=True, check=True, cwd=folder
    )
    return {
        name: Size(8 * size / cube.size, encoding, decoding)
        for name, (size, encoding, decoding) in json.loads(done.stdout).items()
    }


def _speed(folder: Path, megabytes: float) -> None:
    rows = max(16, round(megabytes * 1e6 / (2 * 200 * 400)))
    cube = mixture(200, rows, 400)
    shape = " x ".join(map(str, cube.shape))
    _say(f"\nSpeed on {cube.nbytes / 1e6:.0f} MB ({shape}): MB/s of stored numbers")
    for wish in (Wish(), *(Wish(max_error=error) for error in ERRORS)):
        worked = time.process_time()
        size, outcome = _hsz(cube, wish, folder)
        worked = time.process_time() - worked
        coding, decoding = (cube.nbytes / 1e6 / seconds for seconds in (size.encoding, size.decoding))
        _say(
            f"  {outcome.header.promise:<31}{size.bits:7.3f} bits, encode {coding:5.1f}, "
            f"decode {decoding:5.1f}; per processor second {2 * cube.nbytes / 1e6 / worked:5.1f}"
        )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    main()
