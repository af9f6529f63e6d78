"""EO-1 Hyperion: a file for each band, a table for what the product does not say."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.readers import hyperion

from .made_products import COLUMNS, CRS, HYPERION_NAME, ROWS, TRANSFORM, write_hyperion, zipped


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hyperion(tmp_path_factory.mktemp("hyperion"))


def test_values_are_radiance_by_detector(product: Path) -> None:
    scene = open_scene(product)
    assert scene.shape == (242, ROWS, COLUMNS)
    assert np.all(np.diff(scene.wavelength) >= 0)
    by_number = scene.isel(band=np.argsort(scene.band.values))
    divisor = np.where(np.arange(1, 243) <= 70, 40, 80)
    calibrated = np.isin(np.arange(1, 243), sorted(hyperion.CALIBRATED))
    expected = np.where(calibrated, np.arange(1, 243) / divisor, np.nan)
    np.testing.assert_allclose(by_number[:, 1, 1].values, expected, rtol=1e-6)
    np.testing.assert_array_equal(by_number.good, calibrated)
    assert calibrated.sum() == 198
    assert float(by_number.wavelength[9]) == 447.17
    assert by_number.detector.values[[69, 70]].tolist() == ["vnir", "swir"]
    assert (scene.rio.crs, scene.rio.transform()) == (CRS, TRANSFORM)
    facts = ("quantity", "units", "sensor", "acquired")
    wanted = ["radiance", "W/m2/sr/um", "Hyperion", "2010-05-09T00:52:11Z"]
    assert [scene.attrs[name] for name in facts] == wanted


def test_a_dark_number_is_no_gap(product: Path) -> None:
    scene = open_scene(product)
    assert np.isnan(scene[:, 0, 0]).all()
    dark = scene.isel(band=np.flatnonzero(scene.band == 125))
    assert float(dark[0, 3, 3]) == 0
    assert np.isnan(dark[0, 0, 0])


def test_only_wanted_bands_are_read(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    use = hyperion.MemberDataset.use
    monkeypatch.setattr(
        hyperion.MemberDataset, "use", lambda self: (opened.append(self.member.name[24:27]), use(self))[1]
    )
    scene = open_scene(product)
    assert len(opened) == 1
    opened.clear()
    scene.isel(band=np.flatnonzero(np.isin(scene.band, [1, 12, 100])))[:, 2:4].values  # noqa: B018
    assert sorted(opened) == ["012", "020", "030", "040", "090", "100", "110", "150", "205"]


def test_zip_and_mtl_open_the_same(product: Path) -> None:
    expected = open_scene(product).values
    for path in (zipped(product), product / f"{HYPERION_NAME}_MTL_L1T.TXT"):
        np.testing.assert_array_equal(open_scene(path).values, expected)


def test_the_mtl_states_other_factors(tmp_path: Path) -> None:
    scene = open_scene(write_hyperion(tmp_path, "L1GST", mtl="  SCALING_FACTOR_VNIR = 100\n"))
    assert float(scene[scene.band.values.tolist().index(10), 1, 1]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("entries", "time"),
    [
        ({"ACQUISITION_DATE": "2010-05-09", "START_TIME": "00:52:11"}, "2010-05-09T00:52:11Z"),
        ({"START_TIME": "2010 129 00:52:11"}, "2010-05-09T00:52:11Z"),
        ({"ACQUISITION_DATE": "2010-05-09"}, "2010-05-09T00:00:00Z"),
        ({}, "2010-05-09T00:00:00Z"),
        ({"ACQUISITION_DATE": "soon", "START_TIME": "0000 000 x"}, None),
    ],
)
def test_the_time_is_where_the_file_has_it(entries: dict[str, str], time: str | None) -> None:
    assert hyperion._acquired(entries, HYPERION_NAME) == time


def test_a_missing_calibrated_band_is_named(tmp_path: Path) -> None:
    product = write_hyperion(tmp_path)
    (product / f"{HYPERION_NAME}_B003_L1T.TIF").unlink()
    open_scene(product)
    (product / f"{HYPERION_NAME}_B045_L1T.TIF").unlink()
    with pytest.raises(SceneError, match="B045"):
        open_scene(product)


def test_level_1r_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / f"{HYPERION_NAME}.L1R"
    path.write_bytes(b"\x0e\x03\x13\x01")
    with pytest.raises(SceneError, match="level 1R"):
        open_scene(path)
