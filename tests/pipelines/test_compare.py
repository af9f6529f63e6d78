"""Two cubes, compared."""

import json

import numpy as np
import pytest

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.compare import Compare


def write(path, cube, **more):
    scene = make_scene(cube, path=path)
    with RasterWriter(path, like=scene, count=len(cube), overwrite=True, **more) as writer:
        writer.write(cube, 0)
    return str(path)


@pytest.fixture
def cubes(tmp_path):
    rng = np.random.default_rng(5)
    reference = rng.uniform(0.2, 0.8, (6, 40, 33)).astype(np.float32)
    compared = reference + rng.normal(0, 0.01, reference.shape).astype(np.float32)
    return compared, reference


def test_the_figures_the_angles_and_the_report_are_written(tmp_path, cubes):
    compared, reference = cubes
    task = Compare(
        scene=write(tmp_path / "a.tif", compared),
        reference=write(tmp_path / "b.tif", reference),
        output=str(tmp_path / "angle.tif"),
        report=str(tmp_path / "quality.html"),
    )
    result = run(task)
    assert result["psnr"] == pytest.approx(20 * np.log10(0.8 / 0.01), abs=0.5)
    angles = open_scene(tmp_path / "angle.tif")[0].to_numpy()
    assert np.mean(angles) == pytest.approx(result["spectral_angle"], rel=1e-4)
    assert "PSNR" in (tmp_path / "quality.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["kind"] == "Comparison"


def test_fractions_in_another_order_are_matched(tmp_path, cubes):
    compared, reference = cubes
    task = Compare(
        scene=write(tmp_path / "a.tif", compared[::-1]),
        reference=write(tmp_path / "b.tif", reference),
        match=True,
    )
    result = run(task)
    assert result["matched_bands"] == [6, 5, 4, 3, 2, 1]
    assert result["rmse"] == pytest.approx(0.01, rel=0.1)


def test_bands_that_are_bad_in_either_do_not_count(tmp_path, cubes):
    compared, reference = cubes
    compared[2] = 99
    good = np.arange(6) != 2
    task = Compare(
        scene=write(tmp_path / "a.tif", compared, good=good), reference=write(tmp_path / "b.tif", reference)
    )
    assert run(task)["rmse"] == pytest.approx(0.01, rel=0.1)


def test_other_sizes_are_refused_with_both_named(tmp_path, cubes):
    compared, reference = cubes
    task = Compare(
        scene=write(tmp_path / "a.tif", compared[:, :-1]), reference=write(tmp_path / "b.tif", reference)
    )
    with pytest.raises(SceneError, match=r"39 rows.*40"):
        run(task)


def test_endmembers_are_paired_and_scored(tmp_path, cubes):
    _, reference = cubes
    wanted = np.array([[0.1, 0.2, 0.5, 0.4], [0.4, 0.3, 0.2, 0.1], [0.2, 0.2, 0.2, 0.2]])
    SpectralLibrary(wanted, ("tree", "roof", "soil")).write(tmp_path / "truth.csv")
    SpectralLibrary(2 * wanted[[1, 2, 0]], ("a", "b", "c")).write(tmp_path / "found.csv")
    path = write(tmp_path / "a.tif", reference)
    task = Compare(
        scene=path,
        reference=path,
        spectra=str(tmp_path / "found.csv"),
        reference_spectra=str(tmp_path / "truth.csv"),
    )
    assert run(task)["endmember_angles"] == pytest.approx({"tree": 0, "roof": 0, "soil": 0}, abs=1e-6)
    with pytest.raises(ParameterError, match="one is given"):
        run(Compare(scene=path, reference=path, spectra=str(tmp_path / "found.csv")))
