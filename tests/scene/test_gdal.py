"""GeoTIFF: wavelengths are found wherever they hide, and only files that hold their own pixels are opened."""

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import iter_blocks, open_scene
from hsi_toolkit.scene.readers import gdal

CENTRES = np.array([450.0, 550.0, 650.0, 850.0, 2200.0])
WIDTHS = np.array([5.0, 6.0, 7.0, 8.0, 9.0])


@pytest.fixture
def write_tif(tmp_path: Path, cube: np.ndarray) -> Callable[..., Path]:
    """Write the cube as GeoTIFF, let ``tag`` work on the open data set, and return the file."""

    def write(tag: Callable[[rasterio.io.DatasetWriter], object] = lambda _: None, **options: object) -> Path:
        path = tmp_path / "cube.tif"
        profile = {
            "count": 5,
            "height": 7,
            "width": 6,
            "dtype": "int16",
            "transform": Affine(2, 0, 10, 0, -2, 90),
        }
        with rasterio.open(path, "w", driver="GTiff", **(profile | options)) as dataset:
            dataset.write(cube.astype(dataset.dtypes[0]))
            tag(dataset)
        return path

    return write


def per_band(
    dataset: rasterio.io.DatasetWriter, tags: Callable[[int], dict[str, object]], **options: str
) -> None:
    for index in range(5):
        dataset.update_tags(index + 1, **options, **tags(index))


def braces(values: np.ndarray) -> str:
    return "{" + ", ".join(f"{value:g}" for value in values) + "}"


PLACES = {
    "imagery": lambda d: per_band(
        d, lambda i: {"CENTRAL_WAVELENGTH_UM": CENTRES[i] / 1e3, "FWHM_UM": WIDTHS[i] / 1e3}, ns="IMAGERY"
    ),
    "band tags": lambda d: per_band(
        d, lambda i: {"wavelength": CENTRES[i], "wavelength_units": "Nanometers", "fwhm": WIDTHS[i]}
    ),
    "wyvern": lambda d: per_band(
        d, lambda i: {"Wavelength": CENTRES[i], "Wavelength_Units": "nm", "FWHM": WIDTHS[i]}
    ),
    "force": lambda d: per_band(
        d,
        lambda i: {"Wavelength": CENTRES[i] / 1e3, "Wavelength_unit": "micrometers", "fwhm": WIDTHS[i] / 1e3},
        ns="FORCE",
    ),
    "short": lambda d: per_band(
        d, lambda i: {"wl": CENTRES[i], "wlu": "nm", "full width half maximum": WIDTHS[i]}
    ),
    "envi domain": lambda d: d.update_tags(
        ns="ENVI", wavelength=braces(CENTRES / 1e3), wavelength_units="Micrometers", fwhm=braces(WIDTHS / 1e3)
    ),
    "file": lambda d: d.update_tags(
        **{"center wavelength": braces(CENTRES), "wavelength units": "nm", "fwhm": braces(WIDTHS)}
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_wavelengths_are_found_wherever_they_are(write_tif, place) -> None:
    scene = open_scene(write_tif(PLACES[place]))
    np.testing.assert_allclose(scene.wavelength, CENTRES)
    np.testing.assert_allclose(scene.fwhm, WIDTHS)


@pytest.mark.parametrize("pattern", ["band {i} ({nm} Nanometers)", "Band_{nm:.0f}", "x ({um} Micrometers)"])
def test_wavelengths_are_found_in_descriptions(write_tif, pattern) -> None:
    def describe(dataset) -> None:
        dataset.descriptions = tuple(pattern.format(i=i, nm=nm, um=nm / 1e3) for i, nm in enumerate(CENTRES))

    np.testing.assert_allclose(open_scene(write_tif(describe)).wavelength, CENTRES)


def test_wavelengths_are_found_in_a_stac_item_beside_the_file(write_tif, tmp_path) -> None:
    path = write_tif()
    bands = [
        {
            "center_wavelength": nm / 1e3,
            "full_width_half_max": width / 1e3,
            "enmapbox:bad_band_multiplier": int(nm != 850),
        }
        for nm, width in zip(CENTRES, WIDTHS, strict=True)
    ]
    (tmp_path / "cube.stac.json").write_text(json.dumps({"properties": {"eo:bands": bands}}))
    scene = open_scene(path)
    np.testing.assert_allclose(scene.wavelength, CENTRES)
    np.testing.assert_allclose(scene.fwhm, WIDTHS)
    assert scene.good.values.tolist() == [True, True, True, False, True]
    (tmp_path / "cube.stac.json").write_text("{broken")
    assert "wavelength" not in open_scene(path).coords


def test_bands_go_before_the_file_and_exact_before_rounded(write_tif) -> None:
    def contradict(dataset) -> None:
        PLACES["band tags"](dataset)
        dataset.update_tags(ns="ENVI", wavelength=braces(CENTRES + 100), wavelength_units="nm")

    np.testing.assert_allclose(open_scene(write_tif(contradict)).wavelength, CENTRES)

    def round_imagery(dataset) -> None:
        per_band(dataset, lambda i: {"CENTRAL_WAVELENGTH_UM": round(CENTRES[i] / 1e3, 3)}, ns="IMAGERY")
        dataset.update_tags(ns="ENVI", wavelength=braces(CENTRES + 0.4), wavelength_units="nm")

    np.testing.assert_allclose(open_scene(write_tif(round_imagery)).wavelength, CENTRES + 0.4)


def test_lists_of_another_length_and_nonsense_count_as_absent(write_tif) -> None:
    for tags in (
        {"wavelength": braces(CENTRES[:4]), "wavelength_units": "nm"},
        {"wavelength": "{red, green, blue, nir, swir}"},
        {"wavelength": braces(CENTRES - 450)},
        {"wavelength": "{1990.5, 1991.5, 1992.5, 1993.5, 1994.5}", "wavelength_units": "decimal year"},
    ):
        assert (
            "wavelength"
            not in open_scene(write_tif(lambda d, tags=tags: d.update_tags(ns="ENVI", **tags))).coords
        )


def test_scale_offset_bad_bands_and_time_are_read(write_tif, cube) -> None:
    def tag(dataset) -> None:
        dataset.scales = (1e-4,) * 5
        dataset.offsets = (0, 0, 0, 0, 1)
        per_band(dataset, lambda i: {"bbl": int(i != 3)})
        dataset.update_tags(start_time="2022-07-24T10:45:26", TIFFTAG_DATETIME="2023:01:01 00:00:00")

    scene = open_scene(write_tif(tag, nodata=0))
    expected = np.where(cube == 0, np.nan, cube * 1e-4 + np.array([0, 0, 0, 0, 1])[:, None, None])
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    assert scene.attrs["quantity"] == "reflectance"
    assert scene.attrs["acquired"] == "2022-07-24T10:45:26Z"
    assert scene.good.values.tolist() == [True, True, True, False, True]


def test_a_mask_in_the_file_becomes_nan(write_tif, cube) -> None:
    mask = np.full((7, 6), 255, np.uint8)
    mask[2, 3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_tif(lambda dataset: dataset.write_mask(mask))
    np.testing.assert_array_equal(np.isnan(open_scene(path).values).any(axis=0), mask == 0)


def test_rotated_and_ungeoreferenced_rasters_stay_what_they_are(write_tif, cube) -> None:
    turned = Affine.translation(5, 6) @ Affine.rotation(20) @ Affine.scale(2, -3)
    scene = open_scene(write_tif(transform=turned, crs="EPSG:32633"))
    assert scene.rio.transform().almost_equals(turned)
    assert scene.rio.crs == CRS.from_epsg(32633)
    plain = open_scene(write_tif(transform=None))
    assert plain.rio.crs is None
    assert plain.rio.transform().is_identity
    np.testing.assert_array_equal(plain.values, cube)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_blocks_windows_threads_and_pickles_read_the_same(write_tif, cube, interleave) -> None:
    path = write_tif(interleave=interleave, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    scene = pickle.loads(pickle.dumps(open_scene(path)))  # noqa: S301  own data
    np.testing.assert_array_equal(scene[[3, 1], 2:5, ::-1].values, cube[[3, 1], 2:5, ::-1])
    np.testing.assert_array_equal(np.concatenate([b.data for b in iter_blocks(scene, rows=2)], axis=1), cube)
    with ThreadPoolExecutor(4) as pool:
        for y, row in enumerate(pool.map(lambda y: scene[:, y].values, range(7))):
            np.testing.assert_array_equal(row, cube[:, y])


def test_dask_chunks_follow_the_tiles(tmp_path) -> None:
    path = tmp_path / "tiled.tif"
    profile = {
        "count": 2,
        "height": 2048,
        "width": 2048,
        "dtype": "uint8",
        "tiled": True,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", driver="GTiff", blockxsize=256, blockysize=256, sparse_ok=True, **profile):
        pass
    scene = open_scene(path)
    assert scene.encoding["preferred_chunks"]["y"] % 256 == 0
    assert all(block.y0 % 256 == 0 for block in iter_blocks(scene))


def test_a_row_of_tiles_stays_in_the_cache_while_its_lines_are_read(tmp_path, monkeypatch) -> None:
    path = tmp_path / "tiled.tif"
    profile = {"count": 40, "height": 512, "width": 4096, "dtype": "int16", "tiled": True, "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", blockxsize=512, blockysize=512, **profile):
        pass
    wanted = []
    monkeypatch.setattr(gdal, "set_gdal_config", lambda _, size: wanted.append(size))
    open_scene(path)[:, 5].load()
    assert wanted[0] >= 40 * 512 * 4096 * 2


def test_file_names_are_taken_literally(write_tif, cube, tmp_path) -> None:
    strange = tmp_path / "zip+file:a!b #1?.tif"
    write_tif().rename(strange)
    np.testing.assert_array_equal(open_scene(strange).values, cube)


def test_a_virtual_raster_is_refused_under_any_name(tmp_path, write_tif) -> None:
    source = write_tif()
    text = (
        '<VRTDataset rasterXSize="6" rasterYSize="7"><VRTRasterBand dataType="Int16" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("disguised.tif", "open.vrt", "image.img"):
        (tmp_path / name).write_text(text)
        with pytest.raises(HsiError, match="virtual raster"):
            open_scene(tmp_path / name)


def test_pixels_from_another_folder_are_refused(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    secret = tmp_path / "elsewhere" / "secret"
    secret.write_bytes(b"\1" * 200)
    header = (
        'DatasetHeader Begin\n Version = "6.0"\n DataSetType = ERStorage\n DataType = Raster\n'
        " ByteOrder = LSBFirst\n"
        f' DataFile = "{secret}"\n RasterInfo Begin\n  CellType = Unsigned8BitInteger\n  NrOfLines = 4\n'
        "  NrOfCellsPerLine = 5\n  NrOfBands = 1\n RasterInfo End\nDatasetHeader End\n"
    )
    (tmp_path / "harmless.ers").write_text(header)
    with pytest.raises(HsiError, match=r"takes its pixels from|no raster"):
        open_scene(tmp_path / "harmless.ers").load()


def test_damaged_and_foreign_files_are_refused_in_a_sentence(write_tif, tmp_path) -> None:
    path = write_tif(compress="deflate")
    (tmp_path / "short.tif").write_bytes(path.read_bytes()[:60])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not a raster")
    for name in ("short.tif", "empty.tif", "text.tif"):
        with pytest.raises(HsiError) as caught:
            open_scene(tmp_path / name)
        assert caught.value.remedy
    whole = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        offset = (
            int(dataset.tags(1, ns="TIFF").get("BLOCK_OFFSET_0_0", 0)) if dataset.tags(1, ns="TIFF") else 0
        )
    whole[offset or 8 : (offset or 8) + 60] = b"\xff" * 60
    (tmp_path / "cube.tif").write_bytes(whole)
    with pytest.raises(HsiError):
        open_scene(tmp_path / "cube.tif").load()


def test_complex_rasters_are_refused(write_tif) -> None:
    with pytest.raises(HsiError, match="complex"):
        open_scene(write_tif(dtype="complex64"))


def test_a_huge_sparse_raster_opens_without_memory(tmp_path) -> None:
    path = tmp_path / "sparse.tif"
    profile = {
        "count": 1,
        "height": 200_000,
        "width": 200_000,
        "dtype": "uint8",
        "tiled": True,
        "sparse_ok": True,
    }
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", BIGTIFF="YES", **profile):
        pass
    scene = open_scene(path)
    assert scene.nbytes == 160_000_000_000
    assert scene[:, -2:, -3:].values.tolist() == [[[0, 0, 0], [0, 0, 0]]]
