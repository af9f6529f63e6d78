"""A check finds the faults that were put in, and none in a scene without any."""

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from hsi_toolkit.checking.check import SceneCheck, check_scene
from hsi_toolkit.checking.geolocation import check_geolocation
from hsi_toolkit.checking.sample import read_sample
from hsi_toolkit.checking.spectral import find_joins
from hsi_toolkit.errors import OutputError, ParameterError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.sidecar import Corrections, sidecar_path
from hsi_toolkit.tasks.check import Check
from tests.checking.conftest import BANDS, COLUMNS, ROWS, SMILE_NM, WAVELENGTH, WriteScene, clean_scene
from tests.scene.test_export import held_scene


def checked(path: Path) -> SceneCheck:
    scene = open_scene(path)
    return check_scene(scene, read_sample(scene, Progress()), None, Progress())


def texts(check: SceneCheck, topic: str) -> str:
    return " ".join(each.text for each in check.findings if each.topic == topic)


def test_a_clean_scene_has_no_faults(write_scene: WriteScene) -> None:
    check = checked(write_scene(clean_scene()))
    assert not check.bad.any()
    assert [each.text for each in check.findings if each.status == "problem"] == []
    assert "No dead columns" in texts(check, "Columns")


def test_noise_is_measured(write_scene: WriteScene) -> None:
    check = checked(write_scene(clean_scene(noise=0.2)))
    np.testing.assert_allclose(np.median(check.measures.noise), 0.2, rtol=0.1)


def test_bands_without_signal_are_bad(write_scene: WriteScene) -> None:
    cube = clean_scene()
    generator = np.random.default_rng(3)
    cube[5] = generator.normal(0.1, 1.0, cube.shape[1:])
    cube[9] = 4.0
    cube[12] = np.nan
    check = checked(write_scene(cube))
    assert check.numbered(check.bad) == [6, 10, 13]
    reasons = {check.numbers[band]: " ".join(found) for band, found in check.verdict.reasons.items()}
    assert "noise" in reasons[6]
    assert "constant: 4" in reasons[10]
    assert "empty" in reasons[13]


def test_marked_bands_are_told_from_found_ones(write_scene: WriteScene) -> None:
    cube = clean_scene()
    cube[9] = 4.0
    flags = ", ".join("0" if band in (9, 20) else "1" for band in range(BANDS))
    check = checked(write_scene(cube, extra=f"bbl = {{{flags}}}\n"))
    assert check.numbered(check.bad) == [10, 21]
    assert "No further band" in texts(check, "Bands")


def test_saturation_is_a_pile_at_the_top(write_scene: WriteScene) -> None:
    cube = clean_scene()
    cube[30] = np.minimum(cube[30], np.percentile(cube[30], 97))
    check = checked(write_scene(cube))
    assert check.measures.saturated[30] == pytest.approx(0.03, abs=0.005)
    assert "1 band is saturated" in texts(check, "Saturation")
    assert texts(check, "Saturation").endswith(": 31.")


def test_stripes_and_dead_columns_are_found(write_scene: WriteScene) -> None:
    cube = clean_scene()
    offsets = np.random.default_rng(4).normal(0, 0.5, 12)
    cube[40:44, :, 5:89:7] += offsets
    cube[:, :, 50] = 3.0
    check = checked(write_scene(cube))
    assert "1 column is dead in most bands: 51" in texts(check, "Columns")
    assert "4 good bands are striped" in texts(check, "Columns")


def test_smile_is_measured_in_sensor_geometry(write_scene: WriteScene) -> None:
    (bent,) = checked(write_scene(clean_scene(smile=SMILE_NM))).smile
    assert bent.seen
    assert bent.size == pytest.approx(SMILE_NM, rel=0.15)
    (straight,) = checked(write_scene(clean_scene(), name="straight")).smile
    assert not straight.seen


def test_smile_is_not_looked_for_on_a_map(write_scene: WriteScene) -> None:
    map_info = "map info = {UTM, 1, 1, 364500, 5809800, 30, 30, 33, North, WGS-84}\n"
    check = checked(write_scene(clean_scene(smile=SMILE_NM), extra=map_info))
    assert not check.smile
    assert "hides smile" in texts(check, "Smile")


def test_detectors_that_step_back_show_their_step() -> None:
    wavelength = np.concatenate([np.arange(400, 1000, 10), np.arange(940, 1500, 10)]).astype(float)
    mean = np.where(np.arange(len(wavelength)) < 60, 100.0, 106.0)
    (join,) = find_joins(wavelength, mean, np.ones(len(mean), bool))
    assert (join.start, join.stop) == (940, 990)
    assert join.step == pytest.approx(0.06)


def test_interleaved_detectors_are_seen_after_sorting() -> None:
    wavelength = np.concatenate([np.arange(400, 1000, 10), np.arange(934, 1500, 10)]).astype(float)
    mean = np.where(np.arange(len(wavelength)) < 60, 100.0, 106.0)
    order = np.argsort(wavelength)
    (join,) = find_joins(wavelength[order], mean[order], np.ones(len(mean), bool))
    assert 920 <= join.start <= 940
    assert 980 <= join.stop <= 1010
    assert join.step == pytest.approx(0.06, abs=0.015)


@pytest.mark.parametrize(
    ("transform", "crs", "match"),
    [
        (Affine(30, 0, 364_500, 0, 30, 5_809_800), "EPSG:32633", "south to north"),
        (Affine(-30, 0, 364_500, 0, -30, 5_809_800), "EPSG:32633", "east to west"),
        (Affine(30, 0, 364_500, 0, -30, 5_809_800), None, "no coordinate system"),
        (Affine(9_000, 0, 364_500, 0, -9_000, 5_809_800), "EPSG:32633", "9000 m wide"),
        (Affine(30, 0, 52.5, 0, -30, 13.2), "EPSG:4326", "not lie on the globe"),
        (Affine(3e-4, 0, 52.5, 0, -3e-4, 113.2), "EPSG:4326", "not lie on the globe"),
        (Affine(30, 0, 9_364_500, 0, -30, 5_809_800), "EPSG:32633", "outside"),
        (Affine(30, 0, 364_500, 0, -30, 800_000), "EPSG:25832", "outside the area"),
    ],
)
def test_impossible_georeferences_are_named(transform: Affine, crs: str | None, match: str) -> None:
    findings = check_geolocation(held_scene(transform, crs))
    assert any(match in each.text for each in findings if each.status == "problem"), findings


def test_swapped_axes_are_guessed() -> None:
    findings = check_geolocation(held_scene(Affine(3e-4, 0, 52.5, 0, -3e-4, 113.2), "EPSG:4326"))
    assert "swapped" in findings[0].remedy


def test_half_a_pixel_is_hinted_at() -> None:
    findings = check_geolocation(held_scene(Affine(10, 0, 364_505, 0, -10, 5_809_805), "EPSG:32633"))
    assert any("centres, not edges" in each.text for each in findings)
    findings = check_geolocation(held_scene(Affine(10, 0, 364_500, 0, -10, 5_809_800), "EPSG:32633"))
    assert [each.status for each in findings] == ["good"]


def test_a_sample_of_a_large_scene_is_bounded_and_spread(write_scene: WriteScene) -> None:
    cube = clean_scene()
    scene = open_scene(write_scene(cube))
    sample = read_sample(scene, Progress(), limit=cube[:, :36].size * 4)
    assert sample.data.nbytes <= cube[:, :36].size * 4
    assert not sample.whole
    assert len(sample.stretches) >= 2
    assert sample.rows[0] == 0
    assert sample.rows[-1] == ROWS - 1
    np.testing.assert_array_equal(sample.data, cube[:, sample.rows].astype(np.float32))


def test_a_wide_scene_is_looked_at_in_its_middle(write_scene: WriteScene) -> None:
    scene = open_scene(write_scene(clean_scene()))
    sample = read_sample(scene, Progress(), limit=4 * BANDS * 24 * 40)
    assert sample.columns == slice((COLUMNS - 40) // 2, (COLUMNS - 40) // 2 + 40)


def test_corrections_are_written_and_honoured(write_scene: WriteScene, tmp_path: Path) -> None:
    cube = clean_scene()
    cube[9] = 4.0
    cube[:, :10] = -9999
    header = write_scene(cube)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = run(Check(scene=str(header), fix=True), Progress())
    assert result["bad_bands"] == [10]
    assert {path: path.read_bytes() for path in before} == before
    assert result["outputs"] == {"sidecar": str(sidecar_path(header))}
    assert Corrections.read(sidecar_path(header)) == Corrections(bands=BANDS, bad_bands=(10,), nodata=-9999)
    scene = open_scene(header)
    assert not scene["good"].values[9]
    assert np.isnan(scene.values[:, :10]).all()
    again = run(Check(scene=str(header), fix=True), Progress())
    assert again["bad_bands"] == [10]
    assert again["warnings"] == []


def test_a_scene_without_wavelengths_takes_them_from_a_file(write_scene: WriteScene, tmp_path: Path) -> None:
    header = write_scene(clean_scene(), wavelengths=False)
    rows = "\n".join(f"{centre},9.5" for centre in WAVELENGTH)
    (tmp_path / "bands.csv").write_text(f"wavelength_nm,fwhm_nm\n{rows}\n")
    assert any("no wavelengths" in each for each in run(Check(scene=str(header)), Progress())["warnings"])
    run(Check(scene=str(header), bands=str(tmp_path / "bands.csv"), scale=0.1, quantity="radiance", fix=True))
    scene = open_scene(header)
    np.testing.assert_allclose(scene["wavelength"], WAVELENGTH, rtol=1e-6)
    np.testing.assert_allclose(scene["fwhm"], 9.5)
    np.testing.assert_allclose(scene[0].values, open_scene(header, sidecar=False)[0].values * 0.1, rtol=1e-6)


def test_bands_of_another_scene_are_refused(write_scene: WriteScene, tmp_path: Path) -> None:
    (tmp_path / "bands.csv").write_text("wavelength_nm,fwhm_nm\n500,10\n600,10\n")
    task = Check(scene=str(write_scene(clean_scene())), bands=str(tmp_path / "bands.csv"))
    with pytest.raises(ParameterError, match=f"states 2 bands, the scene has {BANDS}"):
        run(task)


def test_the_report_stands_alone(write_scene: WriteScene, tmp_path: Path) -> None:
    cube = clean_scene(smile=SMILE_NM)
    cube[9] = 4.0
    report = tmp_path / "check.html"
    task = Check(scene=str(write_scene(cube)), report=str(report), sidecar=str(tmp_path / "kept.json"))
    result = run(task, Progress())
    html = report.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert html.count("data:image/") == 7
    assert "constant: 4 in every pixel" in html
    assert "&#39;wavelength&#39; of scene.hdr, in nm" in html
    figures = json.loads((tmp_path / "check.json").read_text())
    assert [band["number"] for band in figures["bands"] if band["bad"]] == [10]
    assert Corrections.read(tmp_path / "kept.json").bad_bands == (10,)
    assert set(result["outputs"]) == {"report", "figures", "sidecar"}
    with pytest.raises(OutputError, match="exists already"):
        run(task, Progress())


def test_a_scene_without_data_is_checked_all_the_same(write_scene: WriteScene, tmp_path: Path) -> None:
    header = write_scene(np.full((BANDS, ROWS, COLUMNS), np.nan))
    result = run(Check(scene=str(header), report=str(tmp_path / "r.html")), Progress())
    assert result["good_bands"] == 0
    assert any("No pixel" in each for each in result["warnings"])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (5, 1, 40)])
def test_tiny_scenes_are_checked(
    write_scene: WriteScene, tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    cube = np.random.default_rng(0).random(shape)
    result = run(Check(scene=str(write_scene(cube)), report=str(tmp_path / "r.html")), Progress())
    assert len(result["snr"]) == shape[0]
