"""From polygons to a map, as a user goes: by the command line, on a small scene."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from hsi_toolkit.cli import app
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.scene import read_class_map

from .conftest import BANDS, SmallScene, write_scene

Hsi = Callable[..., dict[str, object]]


def run_hsi(*arguments: object) -> dict[str, object]:
    """Run a command that succeeds and give its result."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "--progress", "none"])
    assert done.exit_code == 0, done.output
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def model(small_scene: SmallScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    run_hsi(
        "train", small_scene.scene, "-l", small_scene.labels, "-f", small_scene.field, "-o", path,
        "--report", path.with_name("training.html"), "--device", "cpu",
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def class_map(small_scene: SmallScene, model: Path) -> Path:
    path = model.with_name("map.tif")
    run_hsi(
        "classify", small_scene.scene, "-m", model, "-o", path, "--probabilities", path.with_name("p.tif"),
        "--uncertainty", path.with_name("u.tif"), "--device", "cpu",
    )  # fmt: skip
    return path


@pytest.mark.slow
def test_the_map_is_right_and_carries_names_and_colours(small_scene: SmallScene, class_map: Path) -> None:
    mapped, legend = read_class_map(class_map)
    by_name = {entry.name: entry for entry in legend}
    assert by_name["water"].hex_colour == "#2166ac"
    right = sum(
        np.count_nonzero((small_scene.truth == cover) & (mapped == by_name[name].value))
        for cover, name in enumerate(("meadow", "water", "soil"), 1)
    )
    assert right / small_scene.truth.size > 0.97


@pytest.mark.slow
def test_probabilities_sum_to_one_and_agree_with_the_map(class_map: Path) -> None:
    mapped, legend = read_class_map(class_map)
    with rasterio.open(class_map.with_name("p.tif")) as source:
        probabilities = source.read(masked=True) * source.scales[0]
        assert list(source.descriptions) == [entry.name for entry in legend]
    np.testing.assert_allclose(probabilities.sum(axis=0), 1.0, atol=0.01)
    values = np.array([entry.value for entry in legend])
    certain = probabilities.max(axis=0) > 0.6
    np.testing.assert_array_equal(values[probabilities.argmax(axis=0)][certain], mapped[certain])


@pytest.mark.slow
def test_the_model_says_what_it_was_trained_on_and_how_good_it_is(model: Path) -> None:
    metadata = ModelBundle.read_metadata(model)
    assert [entry.name for entry in metadata.classes] == ["meadow", "soil", "water"]
    assert metadata.provenance.metrics["overall_accuracy"] > 0.9
    report = json.loads(model.with_name("training.json").read_text(encoding="utf-8"))
    assert report["accuracy"]["independent"]
    assert "overall accuracy" in model.with_name("training.html").read_text(encoding="utf-8").lower()


@pytest.mark.slow
def test_judging_with_the_training_polygons_leaves_out_what_was_trained_on(
    small_scene: SmallScene, class_map: Path, tmp_path: Path
) -> None:
    result = run_hsi(
        "evaluate", class_map, "-l", small_scene.labels, "-f", small_scene.field, "-r", tmp_path / "r.html"
    )
    accuracy = result["accuracy"]
    assert accuracy["independent"]
    assert any("were trained on" in sentence for sentence in accuracy["basis"])


@pytest.mark.slow
def test_judging_on_training_pixels_alone_is_not_called_accuracy(
    small_scene: SmallScene, class_map: Path, tmp_path: Path
) -> None:
    result = run_hsi("evaluate", class_map, "-l", small_scene.labels, "-f", small_scene.field)
    matrix = np.array(result["accuracy"]["matrix"]["counts"])
    polygons = gpd.read_file(small_scene.labels)
    trained = json.loads(rasterio.open(class_map).tags()["HSI_TRAINING_PIXELS"])
    rows = np.array(trained["runs"]).reshape(-1, 3)[:, :2]
    inside = [
        any(
            geometry.contains(gpd.points_from_xy([400_000 + 5 * col + 2.5], [5_800_000 - 5 * row - 2.5])[0])
            for row, col in rows
        )
        for geometry in polygons.geometry
    ]
    seen = tmp_path / "seen.gpkg"
    polygons[inside].to_file(seen, driver="GPKG")
    result = run_hsi("evaluate", class_map, "-l", seen, "-f", small_scene.field)
    assert not result["accuracy"]["independent"]
    assert "agreement with the training data" in result["summary"].lower()
    assert "accuracy" not in result["summary"].lower()
    assert np.array(result["accuracy"]["matrix"]["counts"]).sum() >= matrix.sum()


@pytest.mark.slow
def test_a_model_serves_another_sensor_after_resampling(
    small_scene: SmallScene, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tif"
    write_scene(other, np.linspace(400, 1620, BANDS + 15), small_scene.truth, seed=7)
    result = run_hsi("classify", other, "-m", model, "-o", tmp_path / "map.tif", "--device", "cpu")
    assert "resampled" in result["warnings"][0]
    mapped, legend = read_class_map(tmp_path / "map.tif")
    value = {entry.name: entry.value for entry in legend}["water"]
    assert (mapped[small_scene.truth == 2] == value).mean() > 0.9


@pytest.mark.slow
def test_a_scene_of_other_bands_without_wavelengths_is_refused(
    small_scene: SmallScene, model: Path, tmp_path: Path
) -> None:
    with rasterio.open(small_scene.scene) as source:
        profile, cube = source.profile, source.read()
    with rasterio.open(tmp_path / "plain.tif", "w", **{**profile, "count": 33}) as target:
        target.write(cube[:33])
    command = [
        "classify",
        tmp_path / "plain.tif",
        "-m",
        model,
        "-o",
        tmp_path / "map.tif",
        "--progress",
        "none",
    ]
    done = CliRunner().invoke(app, [str(part) for part in command])
    assert done.exit_code == 2
    assert f"33 bands, the model wants {BANDS}" in done.stderr
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_map(small_scene: SmallScene, class_map: Path, tmp_path: Path) -> None:
    run_hsi(
        "map", small_scene.scene, "-l", small_scene.labels, "-f", small_scene.field, "-o", tmp_path / "all",
        "--device", "cpu",
    )  # fmt: skip
    again, _ = read_class_map(tmp_path / "all" / "map.tif")
    np.testing.assert_array_equal(again, read_class_map(class_map)[0])
    assert {path.name for path in (tmp_path / "all").iterdir()} >= {
        "model.safetensors", "map.tif", "map.qml", "uncertainty.tif", "preview.png", "report.html",
        "report.json",
    }  # fmt: skip
    assert not list((tmp_path / "all").glob("*.part*"))


def test_info_and_features_of_a_scene(small_scene: SmallScene, tmp_path: Path) -> None:
    info = run_hsi("info", small_scene.scene)
    assert info["shape"] == [BANDS, 60, 60]
    assert info["crs"] == "EPSG:32633"
    run_hsi("features", small_scene.scene, "-o", tmp_path / "f.tif", "--method", "gwpca")
    with rasterio.open(tmp_path / "f.tif") as source:
        features = source.read()
    assert features.shape == (32, 60, 60)
    np.testing.assert_allclose(features[:2].std(axis=(1, 2)), 1.0, atol=0.01)


@pytest.mark.slow
def test_pretraining_writes_a_model_that_training_starts_from(
    small_scene: SmallScene, tmp_path: Path
) -> None:
    weights = tmp_path / "pretrained.safetensors"
    result = run_hsi(
        "pretrain", small_scene.scene, "-o", weights, "--epochs", 2, "--windows", 256, "--batch-size", 64,
        "--device", "cpu",
    )  # fmt: skip
    assert len(result["losses"]) == 2
    assert ModelBundle.read_metadata(weights).kind == "pretrained"
    run_hsi(
        "train", small_scene.scene, "-l", small_scene.labels, "-f", small_scene.field, "--weights", weights,
        "-o", tmp_path / "m.safetensors", "--epochs", 1, "--device", "cpu",
    )  # fmt: skip
