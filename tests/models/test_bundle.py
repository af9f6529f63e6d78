"""The model bundle: what is saved comes back, and what is broken says so in one sentence."""

import errno
import json
import math
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import save_file

from hsi_toolkit.errors import ModelError, OutputError, SceneError
from hsi_toolkit.models.bundle import (
    Architecture,
    ModelBundle,
    ModelMetadata,
    Preprocessing,
    Provenance,
    SensorBands,
    check_compatible,
    parts,
)
from hsi_toolkit.scene import ClassEntry

BANDS = SensorBands(6, (0, 1, 2, 4, 5), (450.0, 550.0, 650.0, 850.0, 950.0), (10.0,) * 5)


@pytest.fixture
def metadata():
    return ModelMetadata(
        name="Meadows",
        kind="classifier",
        architecture=Architecture("hsimae", {"embed_dim": 64, "depth": 4}),
        preprocessing=Preprocessing(BANDS, "GroupwisePCA", {"n_components": 8}, "reflectance", "EnMAP"),
        classes=(ClassEntry(1, "Gräser", (17, 119, 51)), ClassEntry(7, "water", (0, 114, 178))),
        provenance=Provenance(
            data=("scene.bsq",), labels="fields.gpkg", seed=3, metrics={"overall_accuracy": 0.91}
        ),
        extra={"windows": [9, 9]},
    )


@pytest.fixture
def bundle(metadata):
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return ModelBundle(
        metadata,
        parts(network={"head.weight": weight}, spectral={"mean": torch.ones(5, dtype=torch.float64)}),
    )


@pytest.fixture
def saved(bundle, tmp_path):
    path = tmp_path / "model.safetensors"
    bundle.save(path)
    return path


def scene(wavelength, **attrs):
    values = np.zeros((len(wavelength), 1, 1), np.float32)
    return xr.DataArray(
        values, dims=("band", "y", "x"), coords={"wavelength": ("band", wavelength)}, attrs=attrs
    )


def rewritten(path, **changes):
    """The bundle at ``path`` with other strings in its header."""
    with safe_open(path, "pt") as file:
        header = {**file.metadata(), **changes}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={key: text for key, text in header.items() if text is not None})
    return path


def described(path, *keys, value):
    """The bundle at ``path`` with one field of its description changed."""
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["hsi_toolkit"])
    field = description
    for key in keys[:-1]:
        field = field[key]
    field[keys[-1]] = value
    return rewritten(path, hsi_toolkit=json.dumps(description))


class TestRoundTrip:
    def test_everything_comes_back(self, bundle, saved):
        loaded = ModelBundle.load(saved)
        assert loaded.metadata == bundle.metadata
        assert loaded.tensors.keys() == bundle.tensors.keys()
        for name, tensor in bundle.tensors.items():
            assert loaded.tensors[name].dtype == tensor.dtype
            assert torch.equal(loaded.tensors[name], tensor)

    def test_metadata_is_read_without_the_tensors(self, metadata, saved):
        assert ModelBundle.read_metadata(saved) == metadata

    def test_parts_come_back_under_their_own_names(self, saved):
        loaded = ModelBundle.load(saved)
        assert list(loaded.part("network")) == ["head.weight"]
        assert list(loaded.part("spectral")) == ["mean"]

    def test_without_preprocessing_and_classes(self, tmp_path):
        plain = ModelMetadata("Base", "pretrained", Architecture("hsimae"))
        ModelBundle(plain, {}).save(tmp_path / "m.safetensors")
        assert ModelBundle.load(tmp_path / "m.safetensors").metadata == plain

    def test_aliases_views_and_transposes_are_stored_as_what_they_show(self, metadata, tmp_path):
        whole = torch.arange(12.0).reshape(3, 4)
        tensors = {"a": whole, "b": whole, "row": whole[1], "transposed": whole.T}
        ModelBundle(metadata, tensors).save(tmp_path / "m.safetensors")
        loaded = ModelBundle.load(tmp_path / "m.safetensors").tensors
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())

    def test_numpy_numbers_are_written_and_nan_becomes_null(self, metadata, tmp_path):
        provenance = Provenance(metrics={"loss": np.float32(0.5), "kappa": math.nan, "per": np.arange(2)})
        other = ModelMetadata("m", "classifier", Architecture("hsimae"), provenance=provenance)
        ModelBundle(other, {}).save(tmp_path / "m.safetensors")
        metrics = ModelBundle.read_metadata(tmp_path / "m.safetensors").provenance.metrics
        assert metrics == {"loss": 0.5, "kappa": None, "per": [0, 1]}

    def test_the_file_is_read_without_this_package(self, saved):
        data = saved.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        assert header["__metadata__"]["format_version"] == "1"
        assert json.loads(header["__metadata__"]["hsi_toolkit"])["classes"][0] == {
            "value": 1,
            "name": "Gräser",
            "colour": "#117733",
        }
        start, stop = header["network.head.weight"]["data_offsets"]
        assert np.frombuffer(data[8 + length :][start:stop], "<f4").tolist() == [0, 1, 2, 3, 4, 5]

    def test_fields_of_a_later_minor_change_are_passed_over(self, metadata, saved):
        assert ModelBundle.read_metadata(described(saved, "colour_of_the_sky", value="blue")) == metadata

    def test_an_existing_file_is_kept_unless_overwriting_is_allowed(self, bundle, saved):
        before = saved.read_bytes()
        with pytest.raises(OutputError, match="exists already"):
            bundle.save(saved)
        assert saved.read_bytes() == before
        bundle.save(saved, overwrite=True)

    def test_a_failed_save_leaves_the_folder_as_it_was(self, bundle, saved, monkeypatch):
        def full(tensors, path, metadata):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        before = saved.read_bytes()
        monkeypatch.setattr("hsi_toolkit.models.bundle.save_file", full)
        with pytest.raises(OutputError, match="No space left on device"):
            bundle.save(saved, overwrite=True)
        assert os.listdir(saved.parent) == [saved.name]
        assert saved.read_bytes() == before

    def test_another_suffix_is_refused(self, bundle, tmp_path):
        with pytest.raises(ModelError, match=r"does not end in \.safetensors"):
            bundle.save(tmp_path / "model.pt")


class TestCard:
    def test_says_what_a_user_asks(self, bundle):
        card = bundle.card()
        assert card["Bands"] == "5 of 6"
        assert card["Wavelengths"] == "450 to 950 nm"
        assert card["Classes"] == ["Gräser", "water"]
        assert card["Metrics"] == {"overall_accuracy": 0.91}
        assert "Made from" not in card

    def test_as_text_has_a_line_an_answer(self, bundle):
        text = bundle.metadata.card_text()
        assert "Classes:      Gräser, water\n" in text
        assert "overall_accuracy 0.91" in text

    def test_is_json(self, bundle):
        assert json.loads(json.dumps(bundle.card())) == bundle.card()


class TestBrokenFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(ModelError, match="There is no model file"):
            ModelBundle.load(tmp_path / "none.safetensors")

    def test_a_folder(self, tmp_path):
        with pytest.raises(ModelError, match="There is no model file"):
            ModelBundle.load(tmp_path)

    def test_empty(self, tmp_path):
        path = tmp_path / "m.safetensors"
        path.touch()
        with pytest.raises(ModelError, match="is empty"):
            ModelBundle.load(path)

    def test_truncated_anywhere(self, saved):
        data = saved.read_bytes()
        for length in [*range(1, 40), *range(40, len(data), 61), len(data) - 1]:
            saved.write_bytes(data[:length])
            with pytest.raises(ModelError) as caught:
                ModelBundle.read_metadata(saved)
            assert caught.value.remedy

    def test_longer_than_its_header_says(self, saved):
        saved.write_bytes(saved.read_bytes() + b"\0")
        with pytest.raises(ModelError, match="promises 64 bytes of tensors and the file has 65"):
            ModelBundle.load(saved)

    def test_any_flipped_byte_of_the_header_is_a_sentence_or_harmless(self, saved):
        data = bytearray(saved.read_bytes())
        (length,) = struct.unpack("<Q", data[:8])
        for position in range(0, 8 + length, 7):
            broken = data.copy()
            broken[position] ^= 0x15
            saved.write_bytes(broken)
            try:
                ModelBundle.load(saved)
            except ModelError as error:
                assert error.remedy  # noqa: PT017

    def test_a_header_of_terabytes_is_not_allocated(self, saved):
        saved.write_bytes(struct.pack("<Q", 1 << 42) + b"{" + b" " * 100)
        with pytest.raises(ModelError, match="not a safetensors file"):
            ModelBundle.load(saved)

    @pytest.mark.parametrize(
        "entry",
        [
            {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 4]},
            {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
            {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
            {"dtype": "F32", "shape": [1], "data_offsets": [0]},
            {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
            {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]},
            {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
            {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
            [],
        ],
    )
    def test_sizes_that_do_not_fit_the_file(self, tmp_path, entry):
        text = json.dumps({"__metadata__": {}, "x": entry}).encode()
        path = tmp_path / "m.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
        with pytest.raises(ModelError, match="its header is wrong"):
            ModelBundle.load(path)

    @pytest.mark.parametrize(
        "text", [b"{nonsense", b"{\xff}", b'{"a":' * 50_000, b'{"__metadata__": {"a": 1}}']
    )
    def test_a_header_that_is_no_json_of_its_kind(self, tmp_path, text):
        path = tmp_path / "m.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(ModelError, match="its header is wrong"):
            ModelBundle.load(path)

    @pytest.mark.parametrize("legacy", [False, True])
    def test_weights_saved_by_torch_under_another_name(self, tmp_path, legacy):
        path = tmp_path / "m.safetensors"
        torch.save({"x": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ModelError, match=r"nothing in it was executed.*hsi models import"):
            ModelBundle.load(path)

    def test_a_pickle_that_would_run_code_does_not(self, tmp_path):
        path, witness = tmp_path / "m.safetensors", tmp_path / "executed"

        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(witness),)

        for protocol in range(6):
            path.write_bytes(pickle.dumps(Evil(), protocol=protocol))
            with pytest.raises(ModelError):
                ModelBundle.load(path)
        assert not witness.exists()

    def test_safetensors_of_something_else(self, tmp_path):
        path = tmp_path / "m.safetensors"
        save_file({"x": torch.zeros(2), "y": torch.zeros(1)}, path)
        with pytest.raises(ModelError, match="holds 2 tensors but no description"):
            ModelBundle.load(path)

    def test_a_newer_format(self, saved):
        with pytest.raises(ModelError, match=r"format 2, this one reads 1\). Update"):
            ModelBundle.load(rewritten(saved, format_version="2"))

    @pytest.mark.parametrize("version", [None, "", "one", "-1", "²"])
    def test_no_format_version(self, saved, version):
        with pytest.raises(ModelError, match="its format version is"):
            ModelBundle.load(rewritten(saved, format_version=version))

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"name": ' + "9" * 5000 + "}"])
    def test_a_description_that_is_none(self, saved, text):
        with pytest.raises(ModelError, match="its description is wrong"):
            ModelBundle.load(rewritten(saved, hsi_toolkit=text))

    @pytest.mark.parametrize(
        ("keys", "value", "named"),
        [
            (["kind"], 3, "kind is 3"),
            (["name"], "", "name is"),
            (["architecture"], "hsimae", "architecture is"),
            (["architecture", "config"], [1], "config is"),
            (["preprocessing"], 1, "preprocessing is 1"),
            (["preprocessing", "bands", "scene_bands"], 0, "scene_bands is 0"),
            (["preprocessing", "bands", "used"], [0, 1, 2, 4, 6], "used is"),
            (["preprocessing", "bands", "used"], [1, 0, 2, 4, 5], "used is"),
            (["preprocessing", "bands", "used"], [], "used is"),
            (["preprocessing", "bands", "wavelength"], [450.0], "wavelength has not a positive"),
            (["preprocessing", "bands", "wavelength"], [0, 1, 2, 3, 4], "wavelength has not a positive"),
            (["preprocessing", "bands", "fwhm"], ["a"] * 5, "fwhm has an item that is no float"),
            (["preprocessing", "bands", "fwhm"], [10**400] * 5, "int too large"),
            (["classes"], [3], "classes has an item"),
            (["classes", 0, "value"], -1, "a class has the value -1"),
            (["classes", 0, "value"], 7, "two classes have the same value"),
            (["classes", 0, "colour"], "green", "a class has the colour"),
            (["classes", 0, "name"], None, "name is null"),
            (["provenance", "seed"], "x", "seed is"),
            (["provenance", "data"], "scene.bsq", "data is"),
            (["extra"], [], "extra is"),
        ],
    )
    def test_a_field_that_is_wrong_is_named(self, saved, keys, value, named):
        with pytest.raises(ModelError, match="its description is wrong") as caught:
            ModelBundle.read_metadata(described(saved, *keys, value=value))
        assert named in caught.value.problem


class TestDocumentation:
    def test_its_example_is_a_description(self):
        text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
        example = json.loads(text.split("```json\n")[1].split("```")[0])
        written = ModelMetadata.from_json(example).to_json()
        assert written == example


class TestCompatibility:
    def test_a_scene_of_the_same_sensor(self, metadata):
        own = scene([450.0, 550.0, 650.0, 750.0, 850.0, 950.0], quantity="reflectance")
        plan = check_compatible(metadata, own)
        assert (plan.bands, plan.matrix, plan.note) == ((0, 1, 2, 4, 5), None, "")

    def test_another_quantity_is_noted(self, bundle):
        own = scene([450.0, 550.0, 650.0, 750.0, 850.0, 950.0], quantity="radiance")
        note = bundle.check_compatible(own).note
        assert note == "The model was trained on reflectance and the scene holds radiance."

    def test_another_sensor_without_the_range(self, metadata):
        with pytest.raises(SceneError, match="700 to 950 nm are missing"):
            check_compatible(metadata, scene(np.arange(400.0, 701.0, 50.0)))

    def test_a_model_without_preprocessing(self, tmp_path):
        plain = ModelMetadata("Base", "pretrained", Architecture("hsimae"))
        with pytest.raises(ModelError, match="Base has no preprocessing"):
            check_compatible(plain, scene([450.0]))
