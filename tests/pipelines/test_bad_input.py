"""What a user can get wrong: one sentence, exit code 2, nothing written, nothing run."""

import pickle
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely.geometry import Point, box
from typer.testing import CliRunner

from hsi_toolkit.cli import app

from .conftest import SmallScene, write_scene


def fails(*arguments: object, output: Path) -> str:
    """Run a command that must fail as a user's error; give its one line."""
    before = sorted(output.parent.iterdir())
    done = CliRunner().invoke(app, [*map(str, arguments), "--progress", "none"])
    assert done.exit_code == 2, done.output
    assert sorted(output.parent.iterdir()) == before
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def train(scene: object, labels: object, output: Path, field: str = "cover") -> str:
    return fails("train", scene, "-l", labels, "-f", field, "-o", output, output=output)


def layer(path: Path, names: list[str], shapes: list[object]) -> Path:
    gpd.GeoDataFrame({"cover": names}, geometry=shapes, crs="EPSG:32633").to_file(path, driver="GPKG")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "model.safetensors"


def test_a_scene_that_is_not_there(small_scene: SmallScene, output: Path) -> None:
    assert "no file" in train("missing.tif", small_scene.labels, output)


def test_a_truncated_scene(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    header = "ENVI\nsamples = 60\nlines = 60\nbands = 40\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
    (tmp_path / "short.hdr").write_text(header)
    (tmp_path / "short.img").write_bytes(b"\0" * 1000)
    assert "1000" in train(tmp_path / "short.hdr", small_scene.labels, output).replace(",", "")


def test_labels_that_are_not_there(small_scene: SmallScene, output: Path) -> None:
    assert "missing.gpkg" in train(small_scene.scene, "missing.gpkg", output)


def test_a_field_that_is_not_there(small_scene: SmallScene, output: Path) -> None:
    assert "'landuse'" in train(small_scene.scene, small_scene.labels, output, field="landuse")


def test_polygons_outside_the_scene(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    far = layer(tmp_path / "far.gpkg", ["a", "b"], [box(0, 0, 10, 10), box(20, 0, 30, 10)])
    assert "outside" in train(small_scene.scene, far, output)


def test_one_class_only(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    one = layer(tmp_path / "one.gpkg", ["meadow"], [box(400_010, 5_799_940, 400_060, 5_799_990)])
    assert "one class only" in train(small_scene.scene, one, output)


def test_a_class_with_one_pixel(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    shapes = [box(400_010, 5_799_940, 400_060, 5_799_990), Point(400_202.5, 5_799_802.5).buffer(2.6)]
    one = layer(tmp_path / "one.gpkg", ["meadow", "water"], shapes)
    assert "'water' has one pixel" in train(small_scene.scene, one, output)


def test_a_scene_with_too_few_bands(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    write_scene(tmp_path / "rgb.tif", np.array([450.0, 550.0, 650.0]), small_scene.truth)
    assert "band" in train(tmp_path / "rgb.tif", small_scene.labels, output)


def test_a_scene_without_any_data(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    with rasterio.open(small_scene.scene) as source:
        profile, cube = source.profile, source.read()
    with rasterio.open(tmp_path / "empty.tif", "w", **profile) as target:
        target.write(np.full_like(cube, np.nan))
    assert "without data" in train(tmp_path / "empty.tif", small_scene.labels, output)


def test_an_output_that_exists(small_scene: SmallScene, output: Path) -> None:
    output.write_bytes(b"mine")
    assert "exists already" in train(small_scene.scene, small_scene.labels, output)
    assert output.read_bytes() == b"mine"


class Harmful:
    """Would make a file if anyone unpickled it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth", "model.safetensors"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    small_scene: SmallScene, output: Path, tmp_path: Path, name: str
) -> None:
    touched = tmp_path / "touched"
    (tmp_path / name).write_bytes(pickle.dumps(Harmful(touched)))
    if name == "model.safetensors":
        command = ("classify", small_scene.scene, "-m", tmp_path / name, "-o", output.with_suffix(".tif"))
    else:
        command = ("models", "import", tmp_path / name, "-o", output)
    fails(*command, output=output)
    assert not touched.exists()


def test_a_corrupted_model(small_scene: SmallScene, output: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{nonsense nonsen")
    line = fails(
        "classify", small_scene.scene, "-m", tmp_path / "bad.safetensors", "-o", output.with_suffix(".tif"),
        output=output,
    )  # fmt: skip
    assert "bad.safetensors" in line


def test_a_map_that_is_no_class_map(small_scene: SmallScene, output: Path) -> None:
    line = fails(
        "evaluate", small_scene.scene, "-l", small_scene.labels, "-f", "cover",
        "-r", output.with_suffix(".html"), output=output,
    )  # fmt: skip
    assert "class map" in line
