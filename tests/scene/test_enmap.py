"""EnMAP products: every way to name one, both detectors, and what the metadata say."""

import pickle
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.readers import enmap
from hsi_toolkit.scene.readers import product as products

from .made_products import (
    CRS,
    SWIR,
    TRANSFORM,
    VNIR,
    enmap_gains,
    stored_numbers,
    write_enmap,
    write_tif,
    zipped,
)

ASCENDING = sorted([*VNIR, *SWIR])


def test_l2a_is_reflectance_on_a_map(tmp_path: Path) -> None:
    scene = open_scene(write_enmap(tmp_path, dead=[4]))
    np.testing.assert_array_equal(scene.wavelength, ASCENDING)
    np.testing.assert_array_equal(scene.fwhm, [8] * 9)
    np.testing.assert_array_equal(np.flatnonzero(~scene.good), [3])
    np.testing.assert_allclose(scene[0, 1:].values, stored_numbers(9)[0, 1:] * 1e-4, rtol=1e-6)
    assert np.isnan(scene[:, 0, 0]).all()
    assert np.isnan(scene[3]).all()
    assert (scene.rio.crs, scene.rio.transform()) == (CRS, TRANSFORM)
    facts = ("quantity", "units", "sensor", "acquired")
    assert [scene.attrs[name] for name in facts] == ["reflectance", "1", "EnMAP", "2023-06-14T10:21:33Z"]


def test_l1c_is_radiance_by_each_bands_own_gain_and_offset(tmp_path: Path) -> None:
    scene = open_scene(write_enmap(tmp_path, "L1C"))
    gains, offsets = enmap_gains("L1C", 9)
    expected = stored_numbers(9, "uint16") * gains[:, None, None] + offsets[:, None, None]
    np.testing.assert_allclose(scene[:, 1:].values, expected[:, 1:], rtol=1e-6)
    assert np.isnan(scene[:, 0, 0]).all()
    assert (scene.attrs["quantity"], scene.attrs["units"]) == ("radiance", "W/m2/sr/nm")


def test_a_product_has_many_names(tmp_path: Path) -> None:
    product = write_enmap(tmp_path)
    expected = open_scene(product).values
    tar = tmp_path / "delivery.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(product, f"order/{product.name}")
    parts = [product / f"{product.name}-{part}" for part in ("METADATA.XML", "SPECTRAL_IMAGE.TIF")]
    stored = zipped(product, compression=zipfile.ZIP_STORED).rename(tmp_path / "stored.zip")
    for path in (*parts, zipped(product), stored, tar):
        scene = open_scene(path)
        np.testing.assert_array_equal(scene.values, expected, err_msg=str(path))
        assert scene.attrs["source"] == str(path)
        assert scene["cloud"].values.sum() == 1


def test_an_archive_is_left_as_it_is(tmp_path: Path) -> None:
    archive = zipped(write_enmap(tmp_path / "made")).rename(tmp_path / "product.zip")
    scene = open_scene(archive)
    assert np.isfinite(scene[:, 1:].values).all()
    assert scene["cloud"].values.any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "product.zip"]


def test_large_packed_images_are_unpacked_once_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(write_enmap(tmp_path / "made"))
    expected = open_scene(archive).values
    monkeypatch.setattr(products, "UNPACKED_BEYOND", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    scene = open_scene(archive)
    np.testing.assert_array_equal(scene[2:4, 1:3].values, expected[2:4, 1:3])
    archive.unlink()
    np.testing.assert_array_equal(scene.values, expected)
    del scene
    assert not list((tmp_path / "temporary").iterdir())


def test_unpacking_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene_path = zipped(write_enmap(tmp_path))
    monkeypatch.setattr(products, "UNPACKED_BEYOND", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    scene = open_scene(scene_path)
    with pytest.raises(SceneError, match="Unpacking"):
        scene.values  # noqa: B018  reading is the test


def test_scenes_in_archives_go_to_other_processes(tmp_path: Path) -> None:
    scene = open_scene(zipped(write_enmap(tmp_path)))
    sent = pickle.loads(pickle.dumps(scene))  # noqa: S301  own data
    np.testing.assert_array_equal(sent.values, scene.values)


def test_the_detectors_overlap_and_either_can_be_preferred(tmp_path: Path) -> None:
    product = write_enmap(tmp_path)
    scene = open_scene(product)
    assert scene.detector.values.tolist() == ["vnir" if nm in VNIR else "swir" for nm in ASCENDING]
    np.testing.assert_array_equal(open_scene(product, "vnir").wavelength, VNIR)
    np.testing.assert_array_equal(open_scene(product, "swir").wavelength, SWIR)
    np.testing.assert_array_equal(open_scene(product, "prefer-vnir").wavelength, [*VNIR, 1100, 1650])
    chosen = open_scene(product, "prefer-swir")
    np.testing.assert_array_equal(chosen.wavelength, [420, 550, 660, *SWIR])
    np.testing.assert_array_equal(chosen.band, [1, 2, 3, 4, 6, 8, 9])
    np.testing.assert_array_equal(chosen.values, scene.values[[0, 1, 2, 3, 5, 7, 8]])


def test_without_lists_of_the_detectors_all_bands_are_there(tmp_path: Path) -> None:
    product = write_enmap(tmp_path, replace=("expectedChannelsList", "list"))
    assert "detector" not in open_scene(product).coords
    with pytest.raises(SceneError, match="does not say which detector"):
        open_scene(product, "prefer-swir")


@pytest.mark.parametrize(("variable", "centres"), [(None, VNIR), ("vnir", VNIR), ("SWIR", SWIR)])
def test_l1b_is_one_detector_on_the_grid_of_the_sensor(
    tmp_path: Path, variable: str | None, centres: tuple[float, ...]
) -> None:
    product = write_enmap(tmp_path, "L1B")
    scene = open_scene(product, variable)
    gains, offsets = (values[: len(VNIR)] for values in enmap_gains("L1B", 9))
    if centres == SWIR:
        gains, offsets = (values[len(VNIR) :] for values in enmap_gains("L1B", 9))
    np.testing.assert_array_equal(scene.wavelength, centres)
    expected = stored_numbers(len(centres), "uint16") * gains[:, None, None] + offsets[:, None, None]
    np.testing.assert_allclose(scene[:, 1:].values, expected[:, 1:], rtol=1e-6)
    assert scene.rio.crs is None
    assert "x" not in scene.coords
    assert scene.attrs["corner_longitudes"] == (13.0, 13.4, 13.3, 12.9)
    assert scene.attrs["corner_latitudes"] == (52.5, 52.4, 52.1, 52.2)


def test_the_image_of_a_detector_stands_for_it(tmp_path: Path) -> None:
    product = write_enmap(tmp_path, "L1B")
    scene = open_scene(product / f"{product.name}-SPECTRAL_IMAGE_SWIR.TIF")
    np.testing.assert_array_equal(scene.wavelength, SWIR)
    with pytest.raises(SceneError, match="do not lie on each other"):
        open_scene(product, "prefer-swir")


def test_rpcs_are_kept(tmp_path: Path) -> None:
    (rpc,) = enmap.read_rpcs(write_enmap(tmp_path, "L1B"))
    assert (rpc.line_off, rpc.samp_scale, rpc.long_off) == (0, 2, 3)
    assert rpc.line_num_coeff == list(range(1, 21))


def test_cog_copies_and_other_spellings_are_found(tmp_path: Path) -> None:
    product = write_enmap(tmp_path)
    expected = open_scene(product).values
    image = product / f"{product.name}-SPECTRAL_IMAGE.TIF"
    for suffix in ("_COG.tiff", ".GEOTIFF"):
        image = image.rename(product / f"{product.name}-SPECTRAL_IMAGE{suffix}")
        np.testing.assert_array_equal(open_scene(product).values, expected)
        np.testing.assert_array_equal(open_scene(image).values, expected)


def test_windows_are_read_alone(tmp_path: Path) -> None:
    scene = open_scene(zipped(write_enmap(tmp_path)))
    np.testing.assert_array_equal(scene[[7, 2], 2:4, 1:3].values, scene.values[[7, 2], 2:4, 1:3])


def test_quality_layers_are_masks_and_classes(tmp_path: Path) -> None:
    product = write_enmap(tmp_path)
    for part, codes in (("CIRRUS", [0, 1, 3, 255]), ("CLASSES", [0, 1, 2, 3])):
        layer = np.zeros((1, 6, 4), np.uint8)
        layer[0, 5] = codes
        write_tif(product / f"{product.name}-QL_QUALITY_{part}.TIF", layer)
    scene = open_scene(product)
    assert np.argwhere(scene["cloud"].values).tolist() == [[2, 1]]
    assert scene["cirrus"][5].values.tolist() == [False, True, True, False]
    assert scene["classes"][5].values.tolist() == [0, 1, 2, 3]
    clear = scene.where(~scene["cloud"])
    assert np.isnan(clear[:, 2, 1]).all()
    assert np.isfinite(clear[:, 2, 2]).all()


@pytest.mark.parametrize(("level", "detector"), [("L2A", ""), ("L1B", "_SWIR")])
def test_error_codes_are_a_scene_of_their_own(tmp_path: Path, level: str, detector: str) -> None:
    product = write_enmap(tmp_path, level)
    image = product / f"{product.name}-SPECTRAL_IMAGE{detector}.TIF"
    scene = open_scene(image)
    codes = np.zeros(scene.shape, np.uint8)
    codes[2, 3, 1] = 2
    mask = write_tif(product / f"{product.name}-QL_PIXELMASK{detector}.TIF", codes)
    errors = open_scene(image, "errors")
    np.testing.assert_array_equal(errors.values, codes)
    np.testing.assert_array_equal(errors.wavelength, scene.wavelength)
    assert (errors.rio.crs, errors.attrs["quantity"]) == (scene.rio.crs, "dn")
    assert float(scene.where(errors == 0).isnull().sum() - scene.isnull().sum()) == 1
    write_tif(mask, codes[:2])
    with pytest.raises(SceneError, match="has 2 bands"):
        open_scene(image, "errors")


def test_a_missing_quality_layer_is_left_out(tmp_path: Path) -> None:
    product = write_enmap(tmp_path)
    (product / f"{product.name}-QL_QUALITY_CLOUD.TIF").write_bytes(b"")
    assert "cloud" not in open_scene(product).coords


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="prefer-swir"):
        open_scene(write_enmap(tmp_path), "nir")


def test_real_metadata_are_understood(shared: Path, tmp_path: Path) -> None:
    for level, quantity in (("L1C", "radiance"), ("L2A", "reflectance")):
        (metadata,) = (shared / "scenes" / "enmap_product" / level).glob("*METADATA.XML")
        member = enmap.find_product(metadata, enmap.ANCHOR, "EnMAP").need(*enmap.METADATA)
        bands = enmap.read_bands(enmap.read_xml(member, enmap.NEVER_READ), member, level)
        assert bands.detector is not None
        assert [int((bands.detector == name).sum()) for name in enmap.DETECTORS] == [88, 130]
        assert np.all(np.diff(bands.wavelength) > 0)
        assert np.allclose(bands.gain, 1e-4) == (quantity == "reflectance")
