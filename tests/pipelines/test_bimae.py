"""The tasks on two layers, from files to files."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from hsi_toolkit.bimodal import networks
from hsi_toolkit.bimodal.pairs import Preparation
from hsi_toolkit.errors import HsiError, LabelError, ModelError, ParameterError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.pipelines import run
from hsi_toolkit.synthetic.tray import Tray, write_tray
from hsi_toolkit.tasks import TASKS
from hsi_toolkit.training.styles import vector_style

SMALL = {"patch_size": 6, "image_size": 24, "epochs": 1}


@pytest.fixture(scope="module", autouse=True)
def small_networks() -> Iterator[None]:
    """The published sizes take a processor too long."""
    with pytest.MonkeyPatch.context() as patch:
        tiny = replace(networks.SIZES["tiny"], dim=16, heads=2, depth=1, decoder_dim=8)
        patch.setattr(networks, "MINI", tiny)
        yield


@pytest.fixture(scope="module")
def tray(tmp_path_factory: pytest.TempPathFactory) -> Tray:
    """Six kinds, three seeds of each; the first seed's polygon has attributes and lies far away."""
    made = write_tray(tmp_path_factory.mktemp("tray"), 3, seed=2)
    frame = gpd.read_file(made.objects)
    frame["note"] = ["moved", *["plain"] * 17]
    frame["grams"] = gpd.pd.array([None, *range(17)], dtype="Int64")
    frame["sown"] = datetime(2024, 4, 1, tzinfo=UTC)
    frame.loc[0, "geometry"] = shapely.affinity.translate(frame.geometry[0], 10_000)
    frame.to_file(made.objects, driver="GPKG", engine="pyogrio")
    return made


@pytest.fixture(scope="module")
def layers(tray: Tray) -> dict[str, str]:
    return {"colour": str(tray.colour), "scene": str(tray.scene)}


@pytest.fixture(scope="module")
def pretrained(tray: Tray, layers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("pretrained") / "pretrained.safetensors"
    task = TASKS["bimae_pretrain"](**layers, objects=str(tray.objects), output=str(output), **SMALL)
    result = run(task)
    assert result["objects"] == 17
    assert result["warnings"] == ["Feature 1 is outside the colour image and left out."]
    return output


@pytest.fixture(scope="module")
def trained(
    tray: Tray, layers: dict[str, str], pretrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    task = TASKS["bimae_finetune"](
        **layers,
        labels=str(tray.objects),
        field="kind",
        weights=str(pretrained),
        epochs=1,
        output=str(folder / "model.safetensors"),
        report=str(folder / "report.html"),
    )
    result = run(task)
    assert "objects" in str(result["summary"])
    assert sum(result["objects"]) == 17  # type: ignore[call-overload]
    return folder / "model.safetensors"


def test_a_pretrained_model_says_what_it_was_made_of(pretrained: Path) -> None:
    metadata = ModelBundle.read_metadata(pretrained)
    assert (metadata.kind, metadata.architecture.name) == ("pretrained", "bimae")
    assert metadata.architecture.config["rgb_patches"] == 16
    assert metadata.preprocessing is not None
    assert len(metadata.preprocessing.bands.wavelength or ()) == 40
    assert not pretrained.with_suffix(".part.safetensors").exists()


def test_a_classifier_keeps_classes_sizes_and_accuracy(trained: Path) -> None:
    metadata = ModelBundle.read_metadata(trained)
    assert metadata.kind == "object_classifier"
    assert [entry.name for entry in metadata.classes] == sorted(entry.name for entry in metadata.classes)
    assert metadata.preprocessing is not None
    preparation = Preparation.from_config(metadata.preprocessing.config)
    assert (preparation.patch, preparation.side) == (6, 24)
    assert preparation.stretch is not None
    report = json.loads(trained.with_name("report.json").read_text(encoding="utf-8"))
    assert report["accuracy"]["independent"]
    assert report["accuracy"]["overall"]["low"] is not None
    assert "held out" in trained.with_name("report.html").read_text(encoding="utf-8")


def test_classes_go_into_a_copy_of_the_layer(
    tray: Tray, layers: dict[str, str], trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "classes.gpkg"
    result = run(
        TASKS["bimae_classify"](**layers, objects=str(tray.objects), model=str(trained), output=str(output))
    )
    made, given = gpd.read_file(output, layer="classes"), gpd.read_file(tray.objects)
    assert result["summary"] == "17 of 18 objects classified."
    assert result["warnings"] == ["Feature 1 is outside the colour image and left out."]
    for column in ("number", "kind", "note", "sown"):
        assert made[column].tolist() == given[column].tolist()
    types = dict(
        zip(*(pyogrio.read_info(output, layer="classes")[key] for key in ("fields", "dtypes")), strict=True)
    )
    assert np.dtype(types["grams"]).kind == "i"
    assert made["grams"].isna().tolist() == [True, *[False] * 17]
    assert made.geometry.geom_equals(given.geometry).all()
    assert made["class"].isna().tolist() == [True, *[False] * 17]
    shares = made[[column for column in made.columns if column.startswith("p_")]].to_numpy()[1:]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(shares.max(axis=1), made["probability"][1:], atol=1e-6)
    entries = ModelBundle.read_metadata(trained).classes
    styled = {each.value: each.colour for each in vector_style(output, "classes", "class")}
    assert styled == {entry.name: entry.hex_colour for entry in entries}
    with closing(sqlite3.connect(output)) as database:
        assert database.execute("SELECT useAsDefault FROM layer_styles").fetchall() == [(1,)]


def test_names_that_are_taken_and_parts_of_features(
    tray: Tray, layers: dict[str, str], trained: Path, tmp_path: Path
) -> None:
    frame = gpd.read_file(tray.objects)[1:4].rename(columns={"note": "Class", "kind": "probability"})
    both = shapely.MultiPolygon([frame.geometry.iloc[0], frame.geometry.iloc[1]])
    frame = frame.iloc[:2].set_geometry([both, frame.geometry.iloc[2]], crs=frame.crs)
    frame.to_file(tmp_path / "objects.gpkg", driver="GPKG")
    output = tmp_path / "out.gpkg"
    run(
        TASKS["bimae_classify"](
            **layers, objects=str(tmp_path / "objects.gpkg"), model=str(trained), output=str(output)
        )
    )
    made = gpd.read_file(output, layer="out")
    assert made["Class"].tolist() == ["plain"] * 3
    assert made["number"].tolist() == [2, 2, 3]
    assert {"class_", "probability_"} <= set(made.columns)
    assert len(vector_style(output, "out", "class_")) == 6


def test_one_modality_alone(tray: Tray, layers: dict[str, str], tmp_path: Path) -> None:
    task = TASKS["bimae_finetune"](
        **layers,
        labels=str(tray.objects),
        field="kind",
        modality="rgb",
        test_fraction=0.0,
        output=str(tmp_path / "rgb.safetensors"),
        **SMALL,
    )
    result = run(task)
    assert result["accuracy"] is None
    assert "No objects were held out, as asked; the accuracy is unknown." in result["warnings"]  # type: ignore[operator]
    done = run(
        TASKS["bimae_classify"](
            **layers,
            objects=str(tray.objects),
            model=str(tmp_path / "rgb.safetensors"),
            output=str(tmp_path / "out.gpkg"),
        )
    )
    assert done["without_class"] == 1


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"colour": "a.tif", "scene": "b.tif", "labels": "c.gpkg"}, ParameterError, "'field' is missing"),
        ({"colour": "a.tif", "data": "records"}, ParameterError, "Both a data set and layers are given"),
        ({}, ParameterError, "'colour' is missing"),
        ({"data": "records", "weights": "nothing.safetensors"}, ModelError, "no model file"),
    ],
)
def test_what_is_missing_is_said(
    given: dict[str, str], error: type[HsiError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        run(TASKS["bimae_finetune"](output=str(tmp_path / "m.safetensors"), **given))


def test_another_number_of_classes_is_said(tray: Tray, layers: dict[str, str], tmp_path: Path) -> None:
    given = {**layers, "labels": str(tray.objects), "field": "kind", "classes": 19, **SMALL}
    with pytest.raises(LabelError, match=r"The objects have 6 classes instead of 19: long, notched"):
        run(TASKS["bimae_finetune"](output=str(tmp_path / "m.safetensors"), **given))


def test_other_models_are_refused(
    tray: Tray, layers: dict[str, str], pretrained: Path, trained: Path, tmp_path: Path
) -> None:
    given = {**layers, "objects": str(tray.objects), "output": str(tmp_path / "o.gpkg")}
    with pytest.raises(ModelError, match="is no classifier of objects, but a model of the kind 'pretrained'"):
        run(TASKS["bimae_classify"](model=str(pretrained), **given))
    labelled = {**layers, "labels": str(tray.objects), "field": "kind", "weights": str(trained)}
    with pytest.raises(ModelError, match="is no pretrained BiMAE"):
        run(TASKS["bimae_finetune"](output=str(tmp_path / "m.safetensors"), **labelled))
    with pytest.raises(ModelError, match="tells whole objects apart and not pixels"):
        run(TASKS["classify"](scene=layers["scene"], model=str(trained), output=str(tmp_path / "m.tif")))


def test_a_model_states_what_it_learned_from(trained: Path) -> None:
    metadata = ModelBundle.read_metadata(trained)
    labelled, report = (
        metadata.extra["labelled"],
        json.loads(trained.with_name("report.json").read_text("utf-8")),
    )
    assert isinstance(labelled, dict)
    assert labelled["objects"] == 17 - report["accuracy"]["objects"]
    assert sum(each["objects"] for each in labelled["classes"]) == labelled["objects"]  # type: ignore[union-attr, index, misc, call-overload]
    used = metadata.provenance.parameters
    assert (used["epochs"], used["patch_size"], used["image_size"], used["size"]) == (1, 6, 24, None)
    assert used["batch_size"] == 8


def test_cards_say_what_a_model_is(trained: Path, pretrained: Path, tmp_path: Path) -> None:
    for model, kind, said in (
        (trained, "object classifier", "Tells 6 classes of objects apart from a colour image and 40 bands"),
        (pretrained, "pretrained", "hsi bimae finetune"),
    ):
        page = tmp_path / f"{model.stem}.html"
        result = run(TASKS["card"](model=str(model), output=str(page)))
        assert result["summary"] == f"Card of {model.stem} ({kind})."
        assert said in page.read_text(encoding="utf-8")
