"""Many scenes as one job, by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from hsi_toolkit.cli import PARTLY, USER_ERROR, app
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Preprocessing, Provenance
from hsi_toolkit.pipelines import classify_scenes
from hsi_toolkit.scene import ClassEntry, RasterWriter
from hsi_toolkit.spectral.resample import SensorBands
from tests.inference.conftest import BANDS, CLASSES, small_classifier, small_scene


def write(path: Path, bands: int = BANDS) -> Path:
    scene = small_scene(20, 23, bands=bands)
    path.parent.mkdir(exist_ok=True)
    with RasterWriter(path, like=xr.DataArray(np.zeros((20, 23)), dims=("y", "x")), count=bands) as writer:
        writer.write(scene.to_numpy(), 0)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tensors, config = small_classifier().to_tensors()
    metadata = ModelMetadata(
        name="small",
        kind="classifier",
        architecture=Architecture("scene_classifier", config),
        preprocessing=Preprocessing(SensorBands(BANDS, tuple(range(BANDS)), None, None), "GroupwisePCA"),
        classes=tuple(ClassEntry(k + 1, f"class {k + 1}", (60 * k, 0, 0)) for k in range(CLASSES)),
        provenance=Provenance(),
    )
    path = tmp_path / "model.safetensors"
    ModelBundle(metadata, tensors).save(path)
    return path


def run(*arguments: object) -> tuple[int, dict[str, object], str]:
    """The exit code, the result and what else was printed."""
    done = CliRunner().invoke(
        app, ["classify-scenes", *map(str, arguments), "--device", "cpu", "--json", "--progress", "none"]
    )
    return done.exit_code, json.loads(done.stdout or "{}"), done.stderr


def test_every_scene_gets_its_map(model: Path, tmp_path: Path) -> None:
    scenes = [write(tmp_path / "in" / f"{name}.tif") for name in "ab"]
    code, result, _ = run(*scenes, "-m", model, "-o", tmp_path / "maps", "--uncertainty")
    assert code == 0
    assert (result["mapped"], result["failed"]) == (2, 0)
    made = {path.name for path in (tmp_path / "maps").glob("*.tif")}
    assert made == {"a.tif", "a_uncertainty.tif", "b.tif", "b_uncertainty.tif"}
    assert sum(result["scenes"][0]["pixels"].values()) == 20 * 23


def test_a_scene_that_fails_stops_no_other_and_the_exit_code_says_so(model: Path, tmp_path: Path) -> None:
    good = write(tmp_path / "in" / "good.tif")
    other = write(tmp_path / "in" / "other.tif", bands=7)
    (tmp_path / "in" / "damaged.tif").write_bytes(good.read_bytes()[:500])
    scenes = [tmp_path / "in" / f"{name}.tif" for name in ("damaged", "missing", "other", "good")]
    code, result, _ = run(*scenes, "-m", model, "-o", tmp_path / "maps")
    assert code == PARTLY
    assert set(result["failures"]) == {str(path) for path in scenes[:3]}
    assert "There is no file" in result["failures"][str(scenes[1])]
    assert "7" in result["failures"][str(other)]
    assert "1 of 4" in result["summary"]
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["good.tif"]


def test_started_again_it_passes_over_the_maps_there_are(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [write(tmp_path / "in" / f"{name}.tif") for name in "abc"]
    run(*scenes[:2], "-m", model, "-o", tmp_path / "maps")
    before = (tmp_path / "maps" / "a.tif").stat().st_mtime_ns
    mapped: list[str] = []
    classify = classify_scenes.classify.run

    def noted(task, progress, **more):  # type: ignore[no-untyped-def]
        mapped.append(Path(task.scene).name)
        return classify(task, progress, **more)

    monkeypatch.setattr(classify_scenes.classify, "run", noted)
    code, result, _ = run(*scenes, "-m", model, "-o", tmp_path / "maps")
    assert (code, mapped) == (0, ["c.tif"])
    assert "2 had their map" in result["summary"]
    assert (tmp_path / "maps" / "a.tif").stat().st_mtime_ns == before
    run(*scenes, "-m", model, "-o", tmp_path / "maps", "--overwrite")
    assert mapped[1:] == ["a.tif", "b.tif", "c.tif"]


def test_a_list_names_scenes_and_folders_tell_namesakes_apart(model: Path, tmp_path: Path) -> None:
    scenes = [write(tmp_path / folder / "data.tif") for folder in ("june", "july")]
    listed = tmp_path / "scenes.txt"
    listed.write_text("".join(f"{path}\n\n" for path in scenes), encoding="utf-8")
    code, _, _ = run(listed, scenes[0], "-m", model, "-o", tmp_path / "maps")
    assert code == 0
    assert {path.name for path in (tmp_path / "maps").glob("*.tif")} == {"june_data.tif", "july_data.tif"}


def test_scenes_are_never_taken_for_their_maps(model: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "in" / "a.tif")
    before = scene.read_bytes()
    code, _, said = run(scene, "-m", model, "-o", tmp_path / "in", "--overwrite")
    assert code == USER_ERROR
    assert "Choose another folder" in said
    assert scene.read_bytes() == before


def test_a_model_that_cannot_be_used_is_told_once(tmp_path: Path) -> None:
    scene = write(tmp_path / "in" / "a.tif")
    code, _, said = run(scene, "-m", tmp_path / "none.safetensors", "-o", tmp_path / "maps")
    assert code == USER_ERROR
    assert "none.safetensors" in said


@pytest.mark.slow
def test_a_large_cluster_works_on_several_scenes_with_the_same_maps(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(classify_scenes, "BLOCKS_A_SCENE", 1)
    scenes = [write(tmp_path / "in" / f"{name}.tif") for name in "abcd"]
    scenes.insert(2, tmp_path / "in" / "missing.tif")
    codes = [
        run(*scenes, "-m", model, "-o", tmp_path / name, *options)[0]
        for name, options in (("here", ()), ("there", ("--cluster", "local:2")))
    ]
    assert codes == [PARTLY, PARTLY]
    for name in "abcd":
        here, there = (tmp_path / folder / f"{name}.tif" for folder in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
