"""A scene the project makes itself: a river valley in May as an airborne imaging spectrometer sees it.

Everything in it is invented, and nothing of it is random beyond its seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hsi_toolkit.errors import OutputError, ParameterError
from hsi_toolkit.files import atomic_path, check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import ClassEntry, RasterWriter
from hsi_toolkit.synthetic import spectra
from hsi_toolkit.synthetic.landscape import PIXEL, Cover, Landscape, draw_landscape, noise
from hsi_toolkit.synthetic.polygons import draw_polygons

__all__ = ["CLASS_FIELD", "COLOUR_FIELD", "DemoFiles", "make_demo_scene"]

CLASS_FIELD = "class"
COLOUR_FIELD = "colour"

SMALLEST_SIDE = 240
"""Below this the village and its fields do not fit."""

EPSG = 32633
_WEST, _NORTH = 412_300.0, 5_823_900.0

_LEGEND: dict[Cover, tuple[str, str]] = {
    Cover.WHEAT: ("winter wheat", "#4f9d3a"),
    Cover.BARLEY: ("winter barley", "#b5cf6b"),
    Cover.RAPESEED: ("rapeseed", "#f2d327"),
    Cover.SUGAR_BEET: ("sugar beet", "#d38bc2"),
    Cover.MEADOW: ("meadow", "#9fe0a3"),
    Cover.BARE_SOIL: ("bare soil", "#a8754c"),
    Cover.SPRUCE: ("spruce", "#0f4d3a"),
    Cover.BEECH: ("beech", "#2f8f5b"),
    Cover.WATER: ("water", "#2f6fb7"),
    Cover.ASPHALT: ("asphalt", "#5f5f66"),
    Cover.CLAY_ROOF: ("clay tile roof", "#d1495b"),
    Cover.METAL_ROOF: ("metal roof", "#aebfd3"),
}

_CANOPIES = {
    Cover.WHEAT: spectra.WHEAT,
    Cover.BARLEY: spectra.BARLEY,
    Cover.RAPESEED: spectra.RAPESEED,
    Cover.SUGAR_BEET: spectra.SUGAR_BEET,
    Cover.MEADOW: spectra.MEADOW,
    Cover.SPRUCE: spectra.SPRUCE,
    Cover.BEECH: spectra.BEECH,
}

# Standard deviation of the optics' point spread in pixels.
_BLUR = 0.45
# Noise of a good band at a reflectance of 0.3, of an opaque one, and gain errors between detector columns.
_NOISE, _OPAQUE_NOISE, _STRIPES = 0.0022, 0.05, 0.004

Floats = NDArray[np.float64]
Cube = NDArray[np.float32]


@dataclass(frozen=True)
class DemoFiles:
    """Paths of the demo: ``scene``, training polygons ``labels`` with their ``field`` of class names, and the
    true classes of every pixel, ``reference``, that only a judge may see."""

    scene: Path
    labels: Path
    reference: Path
    field: str = CLASS_FIELD


def make_demo_scene(
    folder: str | Path,
    *,
    seed: int = 0,
    shape: tuple[int, int] = (300, 300),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DemoFiles:
    """Write the demo's scene, training polygons and reference map into ``folder``, which is made if need be.

    The scene is a GeoTIFF of reflectance (int16, scale 1e-4): 120 bands from 400 to 2450 nm with widths and
    bad bands, pixels of 5 m, UTM 33N. The same seed gives the same scene.

    Args:
        folder: where to.
        seed: of the landscape and the noise.
        shape: rows and columns, at least 240 each.
        overwrite: whether files of an earlier demo may be replaced.
        progress: told what is being done.

    Raises:
        ParameterError: the shape is too small.
        OutputError: a file exists already or cannot be written.
    """
    if min(shape) < SMALLEST_SIDE:
        raise ParameterError(
            f"The demo scene cannot have {shape[0]} rows and {shape[1]} columns.",
            f"Choose at least {SMALLEST_SIDE} of each.",
        )
    progress = progress or Progress()
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {target} cannot be made: {error.strerror}.", "Choose another."
        ) from error
    files = DemoFiles(target / "scene.tif", target / "training.gpkg", target / "reference.tif")
    for path in (files.scene, files.labels, files.reference):
        check_output(path, overwrite=overwrite)
    rng = np.random.default_rng(seed)
    progress.report(0.0, "Drawing the landscape")
    landscape = draw_landscape(shape, rng)
    progress.check()
    progress.report(0.3, "Lighting it")
    cube = _observe(_reflectance(landscape, rng), landscape.light, rng)
    progress.check()
    progress.report(0.7, "Writing the files")
    grid = _grid(shape)
    _write_scene(files.scene, cube, grid, overwrite)
    progress.check()
    _write_reference(files.reference, landscape, grid, overwrite)
    _write_labels(files.labels, landscape, grid.rio.transform(), rng, overwrite)
    progress.report(1.0, "The demo scene is ready")
    return files


def _reflectance(landscape: Landscape, rng: np.random.Generator) -> Cube:
    """Reflectance (bands, rows, columns) of the ground under even light."""
    shape = landscape.parcel.shape
    vary = _Variation(landscape.parcel, rng)
    ground = spectra.soil(
        moisture=vary("moisture", 0.45, 0.5), clay=vary("clay", 1.0, 0.3), humus=vary("humus", 0.35, 0.3)
    )
    mixers: dict[Cover, Callable[[NDArray[np.intp]], Floats]] = {
        Cover.BARE_SOIL: lambda at: ground[at],
        Cover.WATER: lambda at: spectra.water(vary("depth", 1.6, 0.5)[at], vary("sediment", 0.22, 0.5)[at]),
        Cover.ASPHALT: lambda at: spectra.asphalt(vary("age", 0.80, 0.25)[at]),
        Cover.CLAY_ROOF: lambda at: spectra.clay_tiles(vary("lichen", 0.35, 0.5)[at]),
        Cover.METAL_ROOF: lambda at: spectra.metal_sheet(vary("dulling", 0.4, 0.5)[at]),
    }
    rows = landscape.rows.reshape(-1).astype(np.float64)
    growth = {name: vary(name, 1.0, spread) for name, spread in _GROWTH.items()}
    growth["cover"] *= rows
    growth["flowers"] *= rows
    cube = np.zeros((shape[0] * shape[1], spectra.BANDS), np.float32)
    for cover, share in zip(Cover, landscape.fractions.reshape(len(Cover), -1), strict=True):
        at = np.flatnonzero(share)
        if cover in _CANOPIES:
            here = {name: factor[at] for name, factor in growth.items()}
            pure = _CANOPIES[cover].reflectance(here, ground[at])
        else:
            pure = mixers[cover](at)
        cube[at] += (share[at, None] * pure).astype(np.float32)
    return np.ascontiguousarray(cube.T).reshape(spectra.BANDS, *shape)


# Relative spread of plant parameters between and within fields.
_GROWTH = {
    "chlorophyll": 0.13, "carotenoids": 0.10, "brown": 0.25, "water": 0.12, "dry": 0.16, "cover": 0.05,
    "brightness": 0.05, "flowers": 0.22,
}  # fmt: skip


class _Variation:
    """Parameters that differ from parcel to parcel, drift within them and scatter from pixel to pixel."""

    def __init__(self, parcel: NDArray[np.int32], rng: np.random.Generator) -> None:
        self._parcel, self._rng = parcel, rng

    def __call__(self, name: str, mean: float, spread: float) -> Floats:
        """(pixels,) values of mean ``mean`` and relative spread ``spread``, never negative."""
        rng = self._rng
        parcels = rng.standard_normal(int(self._parcel.max()) + 1)[self._parcel]
        drift = noise(self._parcel.shape, 24.0, rng)
        pixels = rng.standard_normal(self._parcel.shape)
        value = mean * np.exp(spread * (0.70 * parcels + 0.55 * drift + 0.45 * pixels) - spread**2 / 2)
        return np.asarray(value, np.float64).reshape(-1)


def _observe(cube: Cube, light: Cube, rng: np.random.Generator) -> Cube:
    """What the sensor makes of it: light and shadow, blur, noise and stripes."""
    sky = spectra.SKYLIGHT[:, None, None].astype(np.float32)
    seen = cube * ((1 - sky) * light + sky)
    gaussian_filter(seen, (0, _BLUR, _BLUR), output=seen, mode="nearest")
    bands, rows, columns = seen.shape
    seen *= 1 + np.float32(_STRIPES) * rng.standard_normal((bands, 1, columns), dtype=np.float32)
    grain = rng.standard_normal((bands, rows, columns), dtype=np.float32)
    # Photon noise grows with the light; the detectors are weaker at both ends of the spectrum.
    ends: Floats = np.abs(spectra.WAVELENGTHS - 1100) / 1350
    level = (_NOISE * (1 + 1.6 * ends**3)).astype(np.float32)[:, None, None]
    seen += level * np.sqrt(0.25 + seen.clip(0) * 2.5) * grain
    opaque = ~spectra.GOOD
    seen[opaque] = 0.02 * seen[opaque] + _OPAQUE_NOISE * grain[opaque]
    return seen


def _grid(shape: tuple[int, int]) -> xr.DataArray:
    """An empty raster that says where the scene lies."""
    grid = xr.DataArray(np.broadcast_to(np.uint8(0), shape), dims=("y", "x"))
    grid = grid.rio.write_crs(EPSG)
    placed: xr.DataArray = grid.rio.write_transform(Affine(PIXEL, 0, _WEST, 0, -PIXEL, _NORTH))
    return placed


def _write_scene(path: Path, cube: Cube, grid: xr.DataArray, overwrite: bool) -> None:
    with RasterWriter(
        path,
        like=grid,
        count=spectra.BANDS,
        dtype="int16",
        nodata=-32768,
        wavelengths=spectra.WAVELENGTHS,
        fwhm=spectra.FWHM,
        good=spectra.GOOD,
        scale=1e-4,
        tags={"sensor": "invented imaging spectrometer", "TIFFTAG_IMAGEDESCRIPTION": "Synthetic demo scene"},
        acquired="2024-05-16T09:40:00Z",
        overwrite=overwrite,
        compress="zstd",
    ) as raster:
        raster.write(np.rint(cube * 1e4).astype(np.int16), 0)


def _write_reference(path: Path, landscape: Landscape, grid: xr.DataArray, overwrite: bool) -> None:
    classes = [
        ClassEntry(int(cover), name, tuple(bytes.fromhex(colour[1:])))  # type: ignore[arg-type]
        for cover, (name, colour) in _LEGEND.items()
    ]
    with RasterWriter(
        path, like=grid, dtype="uint8", nodata=0, classes=classes, overwrite=overwrite
    ) as raster:
        raster.write(landscape.dominant, 0)


def _write_labels(
    path: Path, landscape: Landscape, transform: Affine, rng: np.random.Generator, overwrite: bool
) -> None:
    drawn = draw_polygons(landscape, transform, rng)
    layer = geopandas.GeoDataFrame(
        {
            CLASS_FIELD: [_LEGEND[each.cover][0] for each in drawn],
            COLOUR_FIELD: [_LEGEND[each.cover][1] for each in drawn],
        },
        geometry=[each.polygon for each in drawn],
        crs=EPSG,
    )
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.unlink()
        layer.to_file(temporary, driver="GPKG", layer="training", engine="pyogrio")
