"""Exported scenes read back unchanged, by ours and by GDAL."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from hsi_toolkit.errors import OutputError, ParameterError, SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import make_scene, open_scene
from hsi_toolkit.scene.export import SceneWriter, open_writer
from hsi_toolkit.scene.lazy import BandIndex, Float32
from hsi_toolkit.tasks.export import Export

FORMATS = ("tif", "hdr", "nc", "zarr")
NORTH_UP = Affine(30.0, 0.0, 364_500.0, 0.0, -30.0, 5_809_800.0)
ROTATED = Affine.translation(364_500.0, 5_809_800.0) @ Affine.rotation(33.0) @ Affine.scale(4.0, -4.0)


class Held:
    """Values in memory as a source."""

    def __init__(self, values: Float32) -> None:
        self.values = values
        self.shape = values.shape

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        return self.values[bands][:, rows, columns].copy()


def held_scene(
    transform: Affine | None = NORTH_UP, crs: str | None = "EPSG:32633", quantity: str = "reflectance"
) -> xr.DataArray:
    generator = np.random.default_rng(1)
    values = generator.uniform(0, 0.6, (20, 37, 29)).astype(np.float32)
    values[:, 3:9, 4:11] = np.nan
    values[7, 20, 20] = np.nan
    return make_scene(
        Held(values),
        path=Path("held"),
        wavelength=np.linspace(430.123, 2400.456, 20),
        fwhm=np.linspace(6.5, 11.25, 20),
        good=np.arange(20) % 7 != 3,
        crs=None if crs is None else CRS.from_string(crs),
        transform=transform,
        quantity=quantity,
        sensor="EnMAP",
        acquired="2024-06-14T10:21:33Z",
    )


def export(scene: xr.DataArray, path: Path, **options: object) -> None:
    with open_writer(path, scene, **options) as writer:
        for y0 in range(0, scene.sizes["y"], 10):
            writer.write(scene[:, y0 : y0 + 10].values, y0)


def interrupted(writer: AbstractContextManager[SceneWriter], scene: xr.DataArray) -> None:
    with writer as opened:
        opened.write(scene[:, :10].values, 0)
        raise OSError("unplugged")


def gdal_path(path: Path, variable: str = "reflectance") -> str:
    """What GDAL opens."""
    if path.suffix == ".nc":
        return f"NETCDF:{path}:{variable}"
    if path.suffix == ".zarr":
        return f'ZARR:"{path}":/{variable}'
    return str(path.with_suffix(".img") if path.suffix == ".hdr" else path)


def by_gdal(path: Path, variable: str = "reflectance") -> tuple[Float32, rasterio.DatasetReader]:
    with rasterio.open(gdal_path(path, variable)) as dataset:
        values = dataset.read().astype(np.float32)
        if dataset.nodata is not None:
            values[values == dataset.nodata] = np.nan
        return values * np.float32(dataset.scales[0]), dataset


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (NORTH_UP, "EPSG:32633"),
        (Affine(1e-3, 0, 13.2, 0, -1e-3, 52.5), "EPSG:4326"),
        (Affine(5.0, 0, 700_000.0, 0, -5.0, 200_000.0), "EPSG:3035"),
        (ROTATED, "EPSG:32733"),
        (None, None),
    ],
    ids=["utm", "degrees", "laea", "rotated", "none"],
)
def test_everything_survives(tmp_path: Path, suffix: str, transform: Affine | None, crs: str | None) -> None:
    scene = held_scene(transform, crs)
    target = tmp_path / f"out.{suffix}"
    export(scene, target)
    back = open_scene(target)
    np.testing.assert_array_equal(back.values, scene.values)
    for name in ("wavelength", "fwhm"):
        np.testing.assert_allclose(back[name], scene[name], rtol=1e-9)
    np.testing.assert_array_equal(back["good"], scene["good"])
    assert back.rio.crs == scene.rio.crs
    np.testing.assert_allclose(back.rio.transform()[:6], scene.rio.transform()[:6], rtol=1e-11, atol=1e-9)
    for name in ("quantity", "sensor", "acquired"):
        assert back.attrs[name] == scene.attrs[name]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("transform", "crs"), [(NORTH_UP, "EPSG:32633"), (None, None)], ids=["utm", "none"])
def test_gdal_reads_the_same(tmp_path: Path, suffix: str, transform: Affine | None, crs: str | None) -> None:
    scene = held_scene(transform, crs)
    target = tmp_path / f"out.{suffix}"
    export(scene, target)
    values, dataset = by_gdal(target)
    np.testing.assert_array_equal(values, scene.values)
    assert dataset.crs == scene.rio.crs
    if transform is not None:
        np.testing.assert_allclose(dataset.transform[:6], transform[:6])


@pytest.mark.parametrize("suffix", ["tif", "hdr"])
def test_gdal_sees_the_wavelengths(tmp_path: Path, suffix: str) -> None:
    scene = held_scene()
    export(scene, tmp_path / f"out.{suffix}")
    with rasterio.open(gdal_path(tmp_path / f"out.{suffix}")) as dataset:
        first = dataset.tags(1, ns="IMAGERY")
        assert float(first["CENTRAL_WAVELENGTH_UM"]) == pytest.approx(0.430123, abs=5e-4)
        assert dataset.tags(1)["wavelength"].startswith("430.123")


@pytest.mark.parametrize("suffix", FORMATS)
def test_integers_hold_steps_of_a_ten_thousandth(tmp_path: Path, suffix: str) -> None:
    scene = held_scene()
    target = tmp_path / f"out.{suffix}"
    export(scene, target, integers=True)
    back = open_scene(target)
    assert back.attrs["quantity"] == "reflectance"
    np.testing.assert_allclose(back.values, scene.values, atol=0.51e-4)
    np.testing.assert_array_equal(np.isnan(back.values), np.isnan(scene.values))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_envi_in_each_interleave(tmp_path: Path, interleave: str) -> None:
    scene = held_scene()
    export(scene, tmp_path / "out.hdr", interleave=interleave)
    np.testing.assert_array_equal(open_scene(tmp_path / "out.hdr").values, scene.values)
    values, _ = by_gdal(tmp_path / "out.hdr")
    np.testing.assert_array_equal(values, scene.values)


def test_rows_from_the_south_stay_so(tmp_path: Path) -> None:
    scene = held_scene(Affine(30.0, 0, 364_500.0, 0, 30.0, 5_800_000.0))
    for suffix in FORMATS:
        export(scene, tmp_path / f"out.{suffix}")
        back = open_scene(tmp_path / f"out.{suffix}")
        np.testing.assert_array_equal(back.values, scene.values)
        np.testing.assert_allclose(back.rio.transform()[:6], scene.rio.transform()[:6])


def test_radiance_is_not_squeezed_into_integers(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="radiance"):
        open_writer(tmp_path / "out.tif", held_scene(quantity="radiance"), integers=True)


@pytest.mark.parametrize("suffix", FORMATS)
def test_units_of_radiance_survive(tmp_path: Path, suffix: str) -> None:
    scene = held_scene(quantity="radiance").assign_attrs(units="W/m2/sr/um")
    export(scene, tmp_path / f"out.{suffix}")
    back = open_scene(tmp_path / f"out.{suffix}")
    assert (back.attrs["quantity"], back.attrs["units"]) == ("radiance", "W/m2/sr/um")


def test_an_unknown_suffix_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"out\.png"):
        open_writer(tmp_path / "out.png", held_scene())


def test_a_skewed_grid_is_refused_for_envi(tmp_path: Path) -> None:
    skewed = Affine(30.0, 12.0, 0.0, 0.0, -30.0, 0.0)
    with pytest.raises(OutputError, match="skewed"):
        open_writer(tmp_path / "out.hdr", held_scene(skewed))
    export(held_scene(skewed), tmp_path / "out.nc")
    assert open_scene(tmp_path / "out.nc").rio.transform() == skewed


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_error_leaves_what_stood_there(tmp_path: Path, suffix: str) -> None:
    scene = held_scene()
    target = tmp_path / f"out.{suffix}"
    export(scene, target)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    writer = open_writer(target, scene * 2, overwrite=True)
    with pytest.raises(OSError, match="unplugged"):
        interrupted(writer, scene)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    np.testing.assert_array_equal(open_scene(target).values, scene.values)


@pytest.mark.parametrize("suffix", FORMATS)
def test_existing_files_are_replaced_only_when_allowed(tmp_path: Path, suffix: str) -> None:
    scene = held_scene()
    target = tmp_path / f"out.{suffix}"
    export(scene, target)
    with pytest.raises(OutputError, match="exists already"):
        export(scene, target)
    export(scene[:, :20], target, overwrite=True)
    assert open_scene(target).sizes["y"] == 20


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.txt").write_text("three years")
    with pytest.raises(OutputError, match="folder of other files"):
        export(held_scene(), tmp_path / "out.zarr", overwrite=True)
    assert (tmp_path / "out.zarr" / "thesis.txt").exists()


def test_a_window_and_a_range_are_cut_out(tmp_path: Path) -> None:
    scene = held_scene()
    source = tmp_path / "scene.tif"
    export(scene, source)
    # From the edge of column 5 to the middle of column 9, rows 2 to 6.
    box = "364650,5809590,364785,5809740"
    task = Export(
        scene=str(source),
        output=str(tmp_path / "part.nc"),
        bbox=box,
        wavelengths="400-1000,2000-2500",
        good=True,
    )
    result = run(task, Progress())
    part = open_scene(tmp_path / "part.nc")
    centres = scene["wavelength"].values
    kept = ((centres < 1000) | (centres > 2000)) & scene["good"].values
    assert result["shape"] == [int(kept.sum()), 5, 5]
    np.testing.assert_array_equal(part.values, scene.values[kept, 2:7, 5:10])
    assert part.rio.transform() == NORTH_UP @ Affine.translation(5, 2)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"bbox": "1,2,3"}, "no box"),
        ({"bbox": "0,0,10,10"}, "outside the scene"),
        ({"bbox": "5,0,1,10"}, "empty"),
        ({"wavelengths": "red"}, "no range"),
        ({"wavelengths": "3000-4000"}, "430 to 2400"),
    ],
)
def test_impossible_parts_are_refused(tmp_path: Path, option: dict[str, str], match: str) -> None:
    export(held_scene(), tmp_path / "scene.tif")
    task = Export(scene=str(tmp_path / "scene.tif"), output=str(tmp_path / "part.tif"), **option)
    with pytest.raises(ParameterError, match=match):
        run(task, Progress())
    assert not (tmp_path / "part.tif").exists()


def test_the_scene_itself_is_never_overwritten(tmp_path: Path) -> None:
    export(held_scene(), tmp_path / "scene.nc")
    with pytest.raises(OutputError, match="the scene that is read"):
        open_writer(tmp_path / "scene.nc", open_scene(tmp_path / "scene.nc"), overwrite=True)


def test_xarray_reads_the_netcdf_file_as_it_is(tmp_path: Path) -> None:
    scene = held_scene()
    export(scene, tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf", decode_coords="all") as data:
        np.testing.assert_array_equal(data["reflectance"].values, scene.values)
        assert data["wavelength"].attrs["units"] == "nm"
        assert data.rio.crs == scene.rio.crs


def test_a_foreign_cf_file_is_understood(tmp_path: Path) -> None:
    """Latitude ascending, packed numbers, wavelengths in micrometres as the band's own coordinate."""
    packed = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
    packed[:, 0, 0] = -1
    data = xr.DataArray(
        packed,
        dims=("wavelength", "lat", "lon"),
        coords={
            "wavelength": ("wavelength", np.linspace(0.4, 0.8, 5), {"units": "micrometer"}),
            "lat": ("lat", [50.0, 50.5, 51.0, 51.5], {"units": "degrees_north"}),
            "lon": ("lon", [7.0, 7.5, 8.0], {"units": "degrees_east"}),
        },
        attrs={
            "scale_factor": 0.01,
            "add_offset": 1.0,
            "_FillValue": np.int16(-1),
            "long_name": "surface reflectance",
        },
        name="rrs",
    )
    data.to_dataset().assign_attrs(Conventions="CF-1.6").to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    scene = open_scene(tmp_path / "f.nc")
    np.testing.assert_allclose(scene["wavelength"], [400, 500, 600, 700, 800])
    np.testing.assert_allclose(scene.values[2, 3, 1], packed[2, 3, 1] * 0.01 + 1)
    assert np.isnan(scene.values[:, 0, 0]).all()
    assert scene.rio.crs == CRS.from_epsg(4326)
    np.testing.assert_allclose(scene.rio.transform()[:6], (0.5, 0, 6.75, 0, 0.5, 49.75))
    assert scene.attrs["quantity"] == "reflectance"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"compressor": {"id": "blosc"}}, "blosc"),
        ({"shape": [1, 2], "chunks": [1, 2]}, "no variable"),
        ({"chunks": [20, 100_000, 100_000]}, "no array"),
        ({"dtype": "|O"}, "no array"),
        ({"shape": "wide"}, "damaged"),
    ],
)
def test_strange_stores_are_refused(tmp_path: Path, change: dict[str, object], match: str) -> None:
    export(held_scene(), tmp_path / "out.zarr")
    told = tmp_path / "out.zarr" / "reflectance" / ".zarray"
    told.write_text(json.dumps({**json.loads(told.read_text()), **change}))
    with pytest.raises(SceneError, match=match):
        open_scene(tmp_path / "out.zarr")


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    export(held_scene(), tmp_path / "out.zarr")
    chunk = tmp_path / "out.zarr" / "reflectance" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(SceneError, match=r"0\.0\.0"):
        open_scene(tmp_path / "out.zarr").values.sum()
