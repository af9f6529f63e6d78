"""Compressed tiles give the same values by whatever window they are read."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.env import get_gdal_config

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import iter_blocks, open_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.readers import gdal_tiles
from hsi_toolkit.scene.readers.gdal import Dataset, GdalSource
from hsi_toolkit.scene.readers.gdal_tiles import TileLayout

BANDS, ROWS, COLUMNS = 37, 75, 90
LAYOUTS = {
    "pixel": {"interleave": "pixel", "tiled": True, "blockxsize": 32, "blockysize": 16},
    "band": {"interleave": "band", "tiled": True, "blockxsize": 32, "blockysize": 16},
    "one": {"interleave": "pixel", "tiled": True, "blockxsize": 96, "blockysize": 80},
    "strips": {"interleave": "pixel", "tiled": False, "blockysize": 4},
    "lines": {"interleave": "band", "tiled": False, "blockysize": 1},
}


def cube() -> np.ndarray:
    return np.random.default_rng(5).integers(-300, 9000, (BANDS, ROWS, COLUMNS)).astype(np.int16)


@pytest.fixture(scope="module", params=LAYOUTS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tiles") / f"{request.param}.tif"
    size = {"width": COLUMNS, "height": ROWS, "count": BANDS, "dtype": "int16"}
    options = {"driver": "GTiff", "compress": "zstd", "predictor": 2, "nodata": -300}
    with rasterio.open(target, "w", **options, **size, **LAYOUTS[request.param]) as dataset:
        dataset.write(cube())
        dataset.scales = (0.5,) * BANDS
    return target


def expected() -> np.ndarray:
    return np.where(cube() == -300, np.nan, cube() * np.float32(0.5))


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_windows_in_any_order(path: Path, data: st.DataObject) -> None:
    scene, whole = open_scene(path), expected()
    for _ in range(4):
        y0, x0 = data.draw(st.integers(0, ROWS - 1)), data.draw(st.integers(0, COLUMNS - 1))
        y1, x1 = data.draw(st.integers(y0 + 1, ROWS)), data.draw(st.integers(x0 + 1, COLUMNS))
        bands = data.draw(st.lists(st.integers(0, BANDS - 1), min_size=1, max_size=BANDS, unique=True))
        np.testing.assert_array_equal(scene[bands, y0:y1, x0:x1].values, whole[bands, y0:y1, x0:x1])


@pytest.mark.parametrize("rows", [1, 5, 16, 40, 75])
def test_blocks_cover_the_scene(path: Path, rows: int) -> None:
    read = np.concatenate([block.core for block in iter_blocks(open_scene(path), rows=rows)], axis=1)
    np.testing.assert_array_equal(read, expected())


def test_a_row_of_tiles_is_decoded_once(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    decoded: list[int] = []
    plain = gdal_tiles.TileRows._decode

    def counted(self: gdal_tiles.TileRows, targets: dict[int, np.ndarray], *more: object) -> None:
        decoded.extend(targets)
        plain(self, targets, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(gdal_tiles.TileRows, "_decode", counted)
    for _ in iter_blocks(open_scene(path), rows=5):
        pass
    assert decoded == sorted(set(decoded))
    assert bool(decoded) == (path.stem != "lines")


def test_gdals_settings_stay_as_they_were(path: Path) -> None:
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
    list(iter_blocks(open_scene(path), rows=20))
    with rasterio.Env():
        assert get_gdal_config("GDAL_CACHEMAX") == before


def test_threads_may_read_at_once(path: Path) -> None:
    scene, whole = open_scene(path), expected()
    windows = [(start, start + 9) for start in range(0, 60, 3)]

    def read(window: tuple[int, int]) -> bool:
        y0, y1 = window
        return np.array_equal(scene[:, y0:y1].values, whole[:, y0:y1], equal_nan=True)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, windows))


def test_a_source_survives_pickling(path: Path) -> None:
    source = GdalSource(Dataset(path), (BANDS, ROWS, COLUMNS), Calibration(), False, 1 << 26)
    source.read(slice(0, 3), slice(0, 9), slice(0, COLUMNS))
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    values = again.read(slice(0, BANDS), slice(3, 20), slice(0, COLUMNS))
    np.testing.assert_array_equal(values, cube()[:, 3:20])


def test_uncompressed_files_and_mixed_types_go_the_plain_way(tmp_path: Path) -> None:
    size = {"driver": "GTiff", "width": 64, "height": 64, "count": 2, "dtype": "int16", "tiled": True}
    for name, options in (("plain", {}), ("packed", {"compress": "deflate"})):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", blockxsize=32, blockysize=32, **size, **options
        ) as dataset:
            dataset.write(np.ones((2, 64, 64), np.int16))
        with rasterio.open(tmp_path / f"{name}.tif") as dataset:
            assert (TileLayout.of(dataset) is None) == (name == "plain")


def test_a_damaged_tile_is_an_error(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / path.name
    content = bytearray(path.read_bytes())
    # The directory of the tiles lies at the end.
    content[16 : len(content) * 3 // 4] = bytes(len(content) * 3 // 4 - 16)
    damaged.write_bytes(content)
    scene = open_scene(damaged)
    # What was not decoded must not be taken for decoded the second time.
    for _ in range(2):
        with pytest.raises(SceneError, match=damaged.name):
            list(iter_blocks(scene, rows=ROWS))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_every_compression_decodes_to_what_gdal_gives(
    tmp_path: Path, dtype: str, compress: str, predictor: int, interleave: str
) -> None:
    target = tmp_path / "scene.tif"
    values = np.random.default_rng(6).integers(0, 250, (5, 70, 100)).astype(dtype)
    profile = {"driver": "GTiff", "width": 100, "height": 70, "count": 5, "dtype": dtype, "tiled": True}
    options = {"compress": compress, "predictor": predictor, "interleave": interleave}
    with rasterio.open(target, "w", blockxsize=32, blockysize=32, **profile, **options) as dataset:
        dataset.write(values)
    scene = open_scene(target)
    np.testing.assert_array_equal(scene.values, values)
    np.testing.assert_array_equal(scene[[3, 1], 30:40, 20:97].values, values[[3, 1], 30:40, 20:97])


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_tiles_that_are_not_stored_hold_no_data(tmp_path: Path, interleave: str) -> None:
    target = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "width": 96, "height": 64, "count": 3, "dtype": "int16", "nodata": -5}
    options = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "zstd", "SPARSE_OK": "TRUE"}
    with rasterio.open(target, "w", interleave=interleave, **profile, **options) as dataset:
        dataset.write(np.full((3, 32, 32), 7, np.int16), window=rasterio.windows.Window(32, 32, 32, 32))
    values = open_scene(target).values
    assert (values[:, 32:, 32:64] == 7).all()
    assert np.isnan(values[:, :32]).all()
    assert np.isnan(values[:, 32:, 64:]).all()


def test_the_usual_tiles_are_not_left_to_gdal(path: Path) -> None:
    source = GdalSource(Dataset(path), (BANDS, ROWS, COLUMNS), Calibration(), False, 1 << 26)
    tiles = source._tile_rows()
    assert tiles is not None
    assert (tiles.decoder is not None) == (path.stem in ("pixel", "band", "one"))


def test_tiles_that_hold_all_bands_are_decoded_once_for_all(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    decoded: list[object] = []
    plain = gdal_tiles.TileRows._decode

    def counted(self: gdal_tiles.TileRows, targets: dict[tuple[int, int], np.ndarray], *more: object) -> None:
        decoded.extend(targets)
        plain(self, targets, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(gdal_tiles.TileRows, "_decode", counted)
    scene, whole = open_scene(path), expected()
    for band in (0, 5, 36):
        np.testing.assert_array_equal(scene[band, 0:16].values, whole[band, 0:16])
    times = {"pixel": 1, "one": 1, "band": 3}
    if path.stem in times:
        assert len(decoded) == times[path.stem] * len(set(decoded))
