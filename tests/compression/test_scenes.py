"""Scenes as .hsz files: the same numbers and facts, by windows, within what was asked for."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from hsi_toolkit.compression import container as container_module
from hsi_toolkit.compression.bounds import error_for_rate, largest_angle
from hsi_toolkit.compression.container import Header, HszFile, tiles_within
from hsi_toolkit.compression.engine import Wish, compress_scene, verify
from hsi_toolkit.errors import OutputError, ParameterError
from hsi_toolkit.scene import iter_blocks, open_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.stored import stored_scene
from tests.compression.cubes import natural, write_tif


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    cube = natural(rows=50, columns=43)
    cube[:, :9, :11] = -32768
    write_tif(path / "scene.tif", cube, nodata=-32768, scale=1e-4)
    compress_scene(open_scene(path / "scene.tif"), path / "scene.hsz", tile_side=16)
    return path


def assert_same_scene(one: xr.DataArray, other: xr.DataArray) -> None:
    np.testing.assert_array_equal(one.values, other.values)
    for name in ("band", "wavelength", "fwhm", "good", "y", "x"):
        np.testing.assert_array_equal(one[name].values, other[name].values)
    assert one.rio.crs == other.rio.crs
    assert one.rio.transform() == other.rio.transform()
    assert {**one.attrs, "source": ""} == {**other.attrs, "source": ""}
    assert one.encoding["_FillValue"] == other.encoding["_FillValue"]


def test_a_compressed_scene_is_the_scene(folder: Path) -> None:
    assert_same_scene(open_scene(folder / "scene.tif"), open_scene(folder / "scene.hsz"))


def test_windows_are_those_of_the_whole_and_only_their_tiles_are_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_scene(folder / "scene.tif").values
    read: list[int] = []
    tile = HszFile.tile
    monkeypatch.setattr(HszFile, "tile", lambda self, number: read.append(number) or tile(self, number))
    scene = open_scene(folder / "scene.hsz")
    window = scene[[20, 3, 4], 14:19, 30:33].values
    np.testing.assert_array_equal(window, whole[[20, 3, 4], 14:19, 30:33])
    assert 1 <= len(read) < scene.sizes["y"] * scene.sizes["x"] // 16**2 / 2
    assert scene[:, 15, 31].shape == (24,)
    assert len(read) <= 4


def test_blocks_of_lines_decode_each_tile_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    tile = HszFile.tile
    monkeypatch.setattr(HszFile, "tile", lambda self, number: read.append(number) or tile(self, number))
    scene = open_scene(folder / "scene.hsz")
    lines = np.concatenate([block.core for block in iter_blocks(scene, rows=5)], axis=1)
    np.testing.assert_array_equal(lines, open_scene(folder / "scene.tif").values)
    assert len(read) == len(set(read)) == HszFile.open(folder / "scene.hsz").header.tiles


@pytest.mark.parametrize(("rows", "columns"), [(slice(0, 1), slice(42, 43)), (slice(3, 50), slice(0, 43))])
def test_the_tiles_of_a_window_are_those_that_overlap_it(folder: Path, rows: slice, columns: slice) -> None:
    header = HszFile.open(folder / "scene.hsz").header
    overlapping = [
        tile
        for tile in range(header.tiles)
        for down, right in [header.window(tile)]
        if down.start < rows.stop and rows.start < down.stop
        if right.start < columns.stop and columns.start < right.stop
    ]
    assert tiles_within(header, rows, columns) == overlapping


def test_bands_in_another_order_than_their_wavelengths_keep_their_places(tmp_path: Path) -> None:
    cube = natural(rows=20, columns=20)
    write_tif(tmp_path / "a.tif", cube)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        for number, nm in enumerate(np.roll(np.linspace(420, 2400, len(cube)), 5), start=1):
            dataset.update_tags(number, wavelength=f"{nm:.3f}", wavelength_units="Nanometers")
            dataset.update_tags(number, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=f"{nm / 1000:.6f}")
    scene = open_scene(tmp_path / "a.tif")
    compress_scene(scene, tmp_path / "a.hsz")
    again = open_scene(tmp_path / "a.hsz")
    assert again["band"].values[0] == 6
    np.testing.assert_array_equal(again.values, scene.values)
    np.testing.assert_array_equal(stored_scene(again).numbers.read(slice(0, 20), slice(0, 20)), cube)


@pytest.mark.parametrize("error", [1, 5, 20])
def test_the_largest_error_is_kept_and_used(folder: Path, tmp_path: Path, error: int) -> None:
    scene = open_scene(folder / "scene.tif")
    outcome = compress_scene(scene, tmp_path / "a.hsz", Wish(max_error=error), tile_side=16)
    before, after = (
        stored_scene(each).numbers.read(slice(0, 50), slice(0, 43))
        for each in (scene, open_scene(tmp_path / "a.hsz"))
    )
    assert np.abs(before.astype(int) - after).max() == error == outcome.error
    np.testing.assert_array_equal(before == -32768, after == -32768)
    verify(scene, tmp_path / "a.hsz")
    assert outcome.header.promise == f"no sample off by more than {error}"


def test_the_largest_angle_is_kept_and_used(folder: Path, tmp_path: Path) -> None:
    scene = open_scene(folder / "scene.tif")
    outcome = compress_scene(scene, tmp_path / "a.hsz", Wish(max_angle=0.5), tile_side=16)
    one, other = (
        np.nan_to_num(each.values).astype(np.float64) for each in (scene, open_scene(tmp_path / "a.hsz"))
    )
    one, other = one[:, 10:], other[:, 10:]
    cosine = (one * other).sum(axis=0) / np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    angles = np.degrees(np.arccos(np.minimum(cosine, 1)))
    assert 0.3 < angles.max() <= 0.5 + 1e-5
    assert outcome.angle <= 0.5
    assert outcome.compressed_bytes < (folder / "scene.hsz").stat().st_size
    verify(scene, tmp_path / "a.hsz")


def test_a_rate_is_kept_by_the_smallest_error_that_does(folder: Path, tmp_path: Path) -> None:
    scene = open_scene(folder / "scene.tif")
    outcome = compress_scene(scene, tmp_path / "a.hsz", Wish(rate=3.0), tile_side=25)
    assert (tmp_path / "a.hsz").stat().st_size * 8 / scene.size <= 3.0
    assert outcome.error == outcome.header.bound
    finer = compress_scene(scene, tmp_path / "b.hsz", Wish(max_error=outcome.error - 2), tile_side=25)
    assert finer.bits_per_sample > 3.0


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("rate", [0.5, 2.0, 6.0])
def test_the_error_of_a_rate_is_found(whole: bool, rate: float) -> None:
    def size(error: float) -> float:
        return float(np.log2(1 + 40 / (2 * error + 1)))

    error = error_for_rate(size, 1.0, rate, whole=whole)
    assert size(error) <= rate
    assert error == 0 or size(error - 1 if whole else error * 0.95) > rate


def test_angles_are_those_of_the_arc_cosine() -> None:
    one = np.array([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 2.0]]])
    other = np.array([[[1.0, 0.0, 2.0]], [[1.0, 0.0, 2.0]]])
    assert largest_angle(one, other, Calibration()) == pytest.approx(45)
    assert largest_angle(one[..., 1:2], other[..., :1], Calibration()) == 90
    assert largest_angle(one[..., 1:2], other[..., 1:2], Calibration()) == 0


def test_only_one_bound_can_be_asked_for() -> None:
    with pytest.raises(ParameterError, match="max_error and rate"):
        Wish(max_error=1, rate=2)


def test_what_was_written_wrongly_is_found(folder: Path, tmp_path: Path) -> None:
    other = natural(rows=50, columns=43, seed=1)
    write_tif(tmp_path / "other.tif", other, nodata=-32768)
    with pytest.raises(OutputError, match="Tile 1 of"):
        verify(open_scene(tmp_path / "other.tif"), folder / "scene.hsz")


def test_a_slice_of_a_scene_is_kept_as_its_physical_values(folder: Path, tmp_path: Path) -> None:
    part = open_scene(folder / "scene.tif")[2:9, 10:30, 5:25]
    compress_scene(part, tmp_path / "part.hsz")
    again = open_scene(tmp_path / "part.hsz")
    np.testing.assert_array_equal(again.values, part.values)
    np.testing.assert_array_equal(again["band"].values, part["band"].values)
    assert again.rio.transform() == part.rio.transform()


def test_an_existing_file_stays_when_compressing_fails(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "scene.hsz"
    target.write_bytes(b"before")
    with pytest.raises(ParameterError, match="more than"):
        compress_scene(open_scene(folder / "scene.tif"), target, Wish(rate=0.01), overwrite=True)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_headers_pass_through_their_text(folder: Path) -> None:
    header = HszFile.open(folder / "scene.hsz").header
    assert Header.from_json(header.to_json(), folder / "x") == header
    assert container_module.VERSION == 1
