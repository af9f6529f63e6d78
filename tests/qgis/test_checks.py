"""What is said before a run that cannot end well: one sentence each, and nothing where all is well."""

import json
import struct
from collections import namedtuple

import pytest
import tiny
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingOutputLayerDefinition,
    QgsRasterLayer,
    QgsVectorLayer,
)

from hsi_toolkit.qgis_plugin import checks, models


@pytest.fixture
def context(project):
    context = QgsProcessingContext()
    context.setProject(project)
    return context


@pytest.fixture
def scene(tmp_path, qgis_app):
    return QgsRasterLayer(str(tiny.write_scene(tmp_path / "tiny.bsq")), "tiny", "gdal")


@pytest.fixture
def check(provider, context):
    """Checks the parameters of an algorithm, and gives the sentence."""

    def sentence(name, parameters):
        fine, said = provider.algorithm(name).create().checkParameterValues(parameters, context)
        assert fine == (not said)
        return said

    return sentence


@pytest.fixture
def training(scene, tmp_path):
    return {
        "INPUT": scene,
        "LABELS": tiny.polygon_layer(),
        "FIELD": "class",
        "OUTPUT": str(tmp_path / "model.safetensors"),
    }


@pytest.fixture
def classifying(scene, tmp_path):
    model = write_model(tmp_path / "model.safetensors")
    return {"INPUT": scene, "MODEL": str(model), "OUTPUT": str(tmp_path / "map.tif")}


def write_model(path, kind="classifier", wavelengths=True, bands=tiny.BANDS, shift=0.0):
    """A model's header, as the engine writes it, without any tensors."""
    centres = [each + shift for each in tiny.wavelengths()]
    described = {
        "name": "tiny",
        "kind": kind,
        "preprocessing": {
            "bands": {
                "scene_bands": bands,
                "used": list(range(bands)),
                "wavelength": centres if wavelengths else None,
            }
        },
        "classes": [{"value": 1, "name": "meadow", "colour": "#00ff00"}],
    }
    header = {"__metadata__": {"hsi_toolkit": json.dumps(described), "format_version": "1"}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def grey_raster(path, bands=1):
    """An image of some bands without wavelengths, in ASCII or by its header."""
    path.write_bytes(bytes(bands * 100))
    lines = ["ENVI", "samples = 10", "lines = 10", f"bands = {bands}", "data type = 1", "interleave = bsq"]
    path.with_suffix(".hdr").write_text("\n".join([*lines, "byte order = 0", "header offset = 0"]) + "\n")
    return QgsRasterLayer(str(path), path.stem, "gdal")


def test_nothing_is_said_where_all_is_well(check, training, classifying):
    assert check("train", training) == ""
    assert check("map", {**training, "OUTPUT": "TEMPORARY_OUTPUT"}) == ""
    assert check("classify", classifying) == ""
    assert check("classify", {**classifying, "OUTPUT": "TEMPORARY_OUTPUT"}) == ""


def test_a_missing_scene_is_said_by_processing(check, training):
    assert "INPUT" in check("train", {**training, "INPUT": "/nowhere/scene.hdr"})


def test_a_picture_is_no_scene(check, training, tmp_path):
    said = check("train", {**training, "INPUT": grey_raster(tmp_path / "picture.bsq")})
    assert said.startswith("The layer picture has 1 band, and a scene of at least 32 good bands is needed.")


def test_bad_bands_do_not_count(check, training, scene):
    header = scene.source().replace(".bsq", ".hdr")
    with open(header, "a", encoding="utf-8") as file:
        file.write(f"bbl = {{{', '.join('01'[band > 20] for band in range(tiny.BANDS))}}}\n")
    said = check("train", {**training, "INPUT": QgsRasterLayer(scene.source(), "tiny", "gdal")})
    assert "40 bands, of which 19 are good" in said


def test_features_ask_for_as_many_bands_as_their_method(check, tmp_path):
    layer = grey_raster(tmp_path / "few.bsq", bands=20)
    parameters = {"INPUT": layer, "OUTPUT": "TEMPORARY_OUTPUT"}
    assert check("features", {**parameters, "METHOD": "mspca"}) == ""
    assert "at least 32" in check("features", {**parameters, "METHOD": "gwpca"})


def test_every_scene_of_a_list_is_looked_at(check, scene, tmp_path):
    layers = [scene, grey_raster(tmp_path / "picture.bsq")]
    said = check("pretrain", {"INPUT": layers, "OUTPUT": str(tmp_path / "m.safetensors")})
    assert said.startswith("The layer picture has 1 band")


def test_two_rasters_that_are_compared_have_one_size(check, scene, tmp_path):
    other = QgsRasterLayer(str(tiny.write_scene(tmp_path / "finer.bsq", finer=2)), "finer", "gdal")
    output = {"OUTPUT": str(tmp_path / "score.tif")}
    said = check("change", {"INPUT": scene, "AFTER": other, **output})
    assert said.startswith("tiny has 40 × 40 pixels and finer has 80 × 80.")
    assert check("change", {"INPUT": scene, "AFTER": scene, **output}) == ""
    assert "80 × 80" in check("compare", {"INPUT": scene, "REFERENCE": other})


def test_polygons_elsewhere(check, training):
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=class:string", "far away", "memory")
    for name in ("a", "b"):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt("POLYGON((20 10, 21 10, 21 11, 20 10))"))
        feature.setAttributes([name])
        layer.dataProvider().addFeature(feature)
    layer.updateExtents()
    said = check("train", {**training, "LABELS": layer})
    assert said.startswith("No feature of far away (EPSG:4326")
    assert "lies on tiny (EPSG:32633" in said


def test_polygons_in_another_coordinate_system_are_fine_where_they_overlap(check, training):
    source = training["LABELS"]
    from qgis.core import QgsCoordinateTransform, QgsProject

    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=class:string", "degrees", "memory")
    transform = QgsCoordinateTransform(source.crs(), degrees, QgsProject.instance())
    for feature in source.getFeatures():
        moved = QgsFeature(layer.fields())
        geometry = feature.geometry()
        geometry.transform(transform)
        moved.setGeometry(geometry)
        moved.setAttributes([feature["class"]])
        layer.dataProvider().addFeature(moved)
    layer.updateExtents()
    assert check("train", {**training, "LABELS": layer}) == ""


def test_a_scene_without_coordinate_system_says_where_to_set_it(check, training, scene):
    scene.setCrs(QgsCoordinateReferenceSystem())
    said = check("train", training)
    assert "The layer tiny has no coordinate system, but training polygons is in EPSG:32633" in said
    assert "layer properties" in said


def test_coordinates_that_cannot_be_transformed(check, training):
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=class:string", "wrong", "memory")
    for name in ("a", "b"):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt("POLYGON((500000 5800000, 500100 5800000, 500100 5800100))"))
        feature.setAttributes([name])
        layer.dataProvider().addFeature(feature)
    layer.updateExtents()
    said = check("train", {**training, "LABELS": layer})
    assert "wrong (EPSG:4326" in said
    assert "coordinate systems" in said


def test_a_single_point_on_the_scene_overlaps_it(check, scene, tmp_path):
    layer = QgsVectorLayer(f"Point?crs={tiny.CRS}&field=class:string", "point", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(f"POINT({tiny.LEFT + 50} {tiny.TOP - 50})"))
    feature.setAttributes(["meadow"])
    layer.dataProvider().addFeature(feature)
    layer.updateExtents()
    assert check("target", {"INPUT": scene, "TARGET": layer, "OUTPUT": str(tmp_path / "s.tif")}) == ""


def test_an_empty_layer(check, training):
    layer = QgsVectorLayer(f"Polygon?crs={tiny.CRS}&field=class:string", "empty", "memory")
    assert check("train", {**training, "LABELS": layer}).startswith("The layer empty has no features")


def test_one_class_is_not_enough_to_train_but_to_judge(check, training, project, tmp_path):
    layer = training["LABELS"]
    project.addMapLayer(layer)
    layer.selectByIds([1, 2, 3])
    chosen = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    said = check("train", {**training, "LABELS": chosen})
    assert said.startswith("The field class of training polygons holds only the class meadow.")
    judging = {"INPUT": training["INPUT"], "LABELS": chosen, "FIELD": "class"}
    assert check("evaluate", judging) == ""


def test_a_field_without_classes(check, training):
    layer = training["LABELS"]
    for feature in layer.getFeatures():
        layer.dataProvider().changeAttributeValues({feature.id(): {1: None}})
    assert "holds no class." in check("train", training)


def test_a_field_that_is_not_there(check, training):
    said = check("train", {**training, "FIELD": "species"})
    assert said == "The layer training polygons has no field species. It has note, class."
    assert "no field CLASS" in check("train", {**training, "FIELD": "CLASS"})


def test_a_model_file_that_is_not_there(check, classifying):
    said = check("classify", {**classifying, "MODEL": "/nowhere/model.safetensors"})
    assert said == "There is no model file /nowhere/model.safetensors. Check the path."


def test_the_name_of_a_fetched_model_is_left_to_the_engine(check, classifying):
    assert check("classify", {**classifying, "MODEL": "hsimae-base"}) == ""


def test_a_file_that_is_no_model(check, classifying, tmp_path):
    for content in (b"", b"nonsense", struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"{}"):
        path = tmp_path / "other.safetensors"
        path.write_bytes(content)
        said = check("classify", {**classifying, "MODEL": str(path)})
        assert said.startswith(f"{path} is no model of hsi_toolkit, or damaged.")


def test_a_pretrained_model_classifies_nothing(check, classifying, tmp_path):
    model = write_model(tmp_path / "pretrained.safetensors", kind="pretrained")
    said = check("classify", {**classifying, "MODEL": str(model)})
    assert "pretrained.safetensors is a model of the kind pretrained, and a classifier is needed." in said


def test_a_model_that_looks_beyond_the_scene(check, classifying, tmp_path):
    model = write_model(tmp_path / "shifted.safetensors", shift=700.0)
    said = check("classify", {**classifying, "MODEL": str(model)})
    assert said.startswith(
        "The good bands of tiny reach from 450 to 1425 nm, and the model needs 1425 to 2125"
    )
    below = write_model(tmp_path / "below.safetensors", shift=-100.0)
    assert "350 to 450 nm" in check("classify", {**classifying, "MODEL": str(below)})


def test_half_a_band_beyond_the_scene_is_fine(check, classifying, tmp_path):
    model = write_model(tmp_path / "near.safetensors", shift=tiny.STEP_NM / 2)
    assert check("classify", {**classifying, "MODEL": str(model)}) == ""


def test_without_wavelengths_the_number_of_bands_counts(check, classifying, tmp_path):
    model = write_model(tmp_path / "blind.safetensors", wavelengths=False)
    assert check("classify", {**classifying, "MODEL": str(model)}) == ""
    other = write_model(tmp_path / "other.safetensors", wavelengths=False, bands=50)
    said = check("classify", {**classifying, "MODEL": str(other)})
    assert said.startswith("tiny has 40 bands, the model wants 50, and the model has no wavelengths")
    bare = grey_raster(tmp_path / "bare.bsq", bands=35)
    said = check("classify", {**classifying, "INPUT": bare})
    assert said.startswith("bare has 35 bands, the model wants 40, and the scene has no wavelengths")


def test_the_folder_of_an_output_must_be_there(check, classifying, tmp_path):
    missing = str(tmp_path / "missing" / "map.tif")
    sentence = f"The output folder {tmp_path / 'missing'} does not exist. Create it or choose another one."
    assert check("classify", {**classifying, "OUTPUT": missing}) == sentence
    wrapped = QgsProcessingOutputLayerDefinition(missing)
    assert check("classify", {**classifying, "OUTPUT": wrapped}) == sentence


def test_an_output_folder_is_made(check, training, tmp_path):
    assert check("map", {**training, "OUTPUT": str(tmp_path / "new" / "newer")}) == ""
    taken = tmp_path / "taken"
    taken.write_text("")
    assert "is a file" in check("map", {**training, "OUTPUT": str(taken)})


def test_an_output_is_no_folder(check, classifying, tmp_path):
    folder = tmp_path / "folder.tif"
    folder.mkdir()
    assert "is a folder" in check("classify", {**classifying, "OUTPUT": str(folder)})


def test_a_folder_that_cannot_be_written(check, classifying, training, monkeypatch):
    # Not by its mode: the tests may run as root, who writes anywhere.
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)
    assert "cannot be written" in check("classify", classifying)
    assert "cannot be written" in check("map", {**training, "OUTPUT": "/new"})


def test_another_format_than_the_engine_writes_is_refused(check, classifying, tmp_path):
    said = check("classify", {**classifying, "OUTPUT": str(tmp_path / "map.img")})
    assert said == f"The output {tmp_path}/map.img does not end in .tif. Name it so."


def test_a_full_disk(check, scene, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage(1, 1, 1 << 20))
    said = check("features", {"INPUT": scene, "OUTPUT": str(tmp_path / "f.tif")})
    assert said.startswith(f"The disk of {tmp_path} has 1 MiB free")


def test_a_model_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = write_model(tmp_path / "model.safetensors")

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(models.ModelFileError, match="cannot be read: Permission denied"):
        models.read_model(path)


def test_published_weights_are_left_to_the_engine(tmp_path):
    weights = tmp_path / "spat-vit-base-ultra-checkpoint-1599.pth"
    weights.write_bytes(b"of another format")
    assert checks.model(str(weights)) == ""
    assert "no model" in checks.model(str(weights), "classifier")
