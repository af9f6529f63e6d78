"""The model card: complete by itself, true to the file, and honest where the file says nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hsi_toolkit.models.header import TensorEntry
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Preprocessing, Provenance, plain_json
from hsi_toolkit.reports.accuracy import Basis, assess
from hsi_toolkit.reports.model_card import render_card
from hsi_toolkit.reports.plots import bands_svg
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.spectral.resample import SensorBands

TENSORS = {
    "network.head.weight": TensorEntry("F32", (64, 3)),
    "network.head.bias": TensorEntry("F32", (3,)),
    "spectral.mean": TensorEntry("F64", (40,)),
}
LEGEND = (
    ClassEntry(1, "wood & water", (10, 110, 60)),
    ClassEntry(2, "<b>soil</b>", (200, 160, 110)),
    ClassEntry(7, "roof", (180, 40, 40)),
)


@pytest.fixture
def metadata() -> ModelMetadata:
    """A classifier that often takes roofs for woods, judged on polygons it has not seen."""
    reference = np.repeat([0, 1, 2], 60)
    mapped = np.where((reference == 2) & (np.arange(180) % 2 == 0), 0, reference)
    accuracy = assess(
        mapped, reference, [entry.name for entry in LEGEND],
        Basis(True, ("Held out as whole polygons.",)), groups=np.arange(180) // 10,
    )  # fmt: skip
    labelled = {
        "geometry": "polygon",
        "pixels": 3210,
        "classes": [
            {"name": entry.name, "pixels": pixels, "groups": groups}
            for entry, pixels, groups in zip(LEGEND, (1500, 1700, 10), (5, 6, 1), strict=True)
        ],
    }
    return ModelMetadata(
        name="Meadows <2024>",
        kind="classifier",
        architecture=Architecture("scene_classifier", {"context": True, "network": {"img_size": 9}}),
        preprocessing=Preprocessing(
            SensorBands(50, tuple(range(40)), tuple(np.linspace(420.0, 2400.0, 40)), (20.0,) * 40),
            features="GroupwisePCA",
            quantity="reflectance",
            sensor="EnMAP",
        ),
        classes=LEGEND,
        provenance=Provenance(
            data=("scene.tif",), labels="fields.gpkg, field class", licence="CC-BY-4.0", seed=3,
            parameters={"epochs": 8}, metrics={"overall_accuracy": 0.83}, created="2025-01-31T12:00:00+00:00",
        ),
        extra={
            "accuracy": plain_json(accuracy.to_dict()),
            "labelled": plain_json(labelled),
            "training_pixels": {"transform": [30.0, 0.0, 0.0, 0.0, -30.0, 0.0], "crs": 'PROJCS["UTM"]'},
        },
    )  # fmt: skip


def card(metadata: ModelMetadata, file: str = "meadows.safetensors") -> str:
    return render_card(metadata, TENSORS, file, 1_234_567)


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    body = html[html.index("<body>") :]
    words = re.sub("<[^>]+>", " ", body).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return " ".join(words.replace("&#39;", "'").replace("&#34;", '"').split())


class _Page(HTMLParser):
    """Tags that are open, and the addresses a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(metadata: ModelMetadata) -> None:
    html = card(metadata)
    page = _Page(html)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in html


def test_the_same_file_gives_the_same_page(metadata: ModelMetadata) -> None:
    assert card(metadata) == card(metadata)


def test_names_from_the_file_are_text_not_markup(metadata: ModelMetadata) -> None:
    html = card(metadata, "<img src=x>.safetensors")
    assert "<b>soil</b>" not in html
    assert "<img src=x>" not in html
    assert "Meadows &lt;2024&gt;" in html


def test_classes_come_with_colour_training_and_figures(metadata: ModelMetadata) -> None:
    html = card(metadata)
    for entry in LEGEND:
        assert f"background:{entry.hex_colour}" in html
    row = next(each for each in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if "roof" in each)
    assert text_of(f"<body>{row}").startswith("7 roof 10 1 100.0")
    assert "50.0" in row  # producer's accuracy: every second roof is found


def test_accuracy_comes_with_its_interval_and_basis(metadata: ModelMetadata) -> None:
    text = text_of(card(metadata))
    overall = re.search(r"Overall accuracy (\S+) % (\S+) – (\S+) %", text)
    assert overall is not None
    value, low, high = (float(each) for each in overall.groups())
    assert value == pytest.approx(100 * 150 / 180, abs=0.05)
    assert low < value < high
    assert "180 pixels in 18 polygons" in text
    assert "Held out as whole polygons." in text


def test_limits_name_weak_classes_scarce_polygons_and_what_a_scene_must_bring(
    metadata: ModelMetadata,
) -> None:
    text = text_of(card(metadata))
    limits = text[text.index("What to know before using it") : text.index("Classes User's")]
    assert "one of the 3 classes, whatever is on the ground" in limits
    assert "roof (producer's 50.0" in limits
    assert "one or two polygons alone, which show little of their variety: roof (1)." in limits
    assert "expects reflectance" in limits
    assert "must cover 420 to 2400 nm" in limits
    assert "has seen pixels of 30 m alone" in limits


def test_a_model_without_held_out_polygons_has_no_accuracy(metadata: ModelMetadata) -> None:
    bare = replace(
        metadata,
        provenance=replace(metadata.provenance, metrics={}),
        extra={**metadata.extra, "accuracy": None},
    )
    text = text_of(card(bare))
    assert "Overall accuracy" not in text
    assert "unknown: no polygons were held out" in text


def test_agreement_with_the_training_data_is_never_called_accuracy(metadata: ModelMetadata) -> None:
    found = assess(np.array([0, 1, 2]), np.array([0, 1, 2]), [e.name for e in LEGEND], Basis.trained_on())
    judged = replace(metadata, extra={**metadata.extra, "accuracy": plain_json(found.to_dict())})
    text = text_of(card(judged))
    assert "Overall accuracy" not in text
    assert "Agreement with the training data 100.0" in text
    assert "measured on pixels it was trained on" in text


def test_a_file_that_stores_bare_metrics_shows_them_without_interval(metadata: ModelMetadata) -> None:
    old = replace(metadata, extra={})
    text = text_of(card(old))
    assert "Overall accuracy 83.0" in text
    assert "no interval stored" in text


def test_a_pretrained_network_is_no_classifier(metadata: ModelMetadata) -> None:
    pretrained = ModelMetadata(
        "start",
        "pretrained",
        Architecture("hsimae", {"embed_dim": 64, "img_size": 9}),
        provenance=Provenance(metrics={"losses": [1.0, 0.5, 0.25]}),
    )
    html = card(pretrained)
    text = text_of(html)
    assert "It has no classes: train a classifier from it first." in text
    assert "hsi train SCENE --labels POLYGONS --field CLASS --weights meadows.safetensors" in text
    assert "states no licence" in text
    assert html.count("data:image/svg+xml") == 1  # the training curve


@pytest.fixture
def of_objects(metadata: ModelMetadata) -> ModelMetadata:
    """A classifier of objects from two images, which has seen few roofs."""
    reference = np.repeat([0, 1, 2], 20)
    mapped = np.where((reference == 2) & (np.arange(60) % 2 == 0), 0, reference)
    names = [entry.name for entry in LEGEND]
    accuracy = assess(mapped, reference, names, Basis(True, ("60 were held out.",)), counted="objects")
    learned = zip(names, (40, 30, 7), strict=True)
    assert metadata.preprocessing is not None
    return replace(
        metadata,
        kind="object_classifier",
        architecture=Architecture(
            "bimae_classifier", {"modality": "bimodal", "network": {"dim": 48, "heads": 3, "depth": 2}}
        ),
        preprocessing=replace(
            metadata.preprocessing,
            features=None,
            config={"patch": 12, "side": 48, "margin": 0.1, "blank": False},
        ),
        provenance=replace(
            metadata.provenance, data=("colour.tif", "scene.hdr"), metrics={"losses": [1.0, 0.5]}
        ),
        extra={
            "accuracy": plain_json(accuracy.to_dict()),
            "labelled": {
                "objects": 77,
                "classes": [{"name": name, "objects": number} for name, number in learned],
            },
        },
    )


def test_a_classifier_of_objects_speaks_of_objects(of_objects: ModelMetadata) -> None:
    html = card(of_objects, "seeds.safetensors")
    text = text_of(html)
    assert (
        "Tells 3 classes of objects apart from a colour image and 40 bands between 420 and 2400 nm." in text
    )
    assert "Kind object classifier" in text
    assert "object_classifier" not in text
    assert "60 objects" in text
    assert "Trained on objects" in text
    assert "Labelled objects 77" in text
    assert "of the objects that it gives this class" in text
    assert re.search(r"\bpixels that|reference pixels|\bpolygons\b|In the map", text) is None
    row = next(each for each in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if "roof" in each)
    assert text_of(f"<body>{row}").startswith("roof 7 100.0")
    network = text[text.index("Network Architecture") :]
    assert "Given both images Colour image 48 × 48 pixels Hyperspectral image 12 × 12 pixels" in network
    assert "Embedding 48 Layers 2 Heads 3" in network
    assert html.count("data:image/svg+xml") == 2  # bands and training curve


def test_a_classifier_of_objects_says_what_it_cannot_do(of_objects: ModelMetadata) -> None:
    text = text_of(card(of_objects))
    limits = text[text.index("What to know before using it") : text.index("Classes User's")]
    assert "Every object with data gets one of the 3 classes, whatever it is." in limits
    assert "that of objects of the data it was trained on which it had not seen" in limits
    assert "roof (producer's 50.0" in limits
    assert "fewer than 10 objects, which show little of their variety: roof (7)." in limits
    assert "the square around an outline, and 10 % of its size around it" in limits
    assert "cannot tell classes apart by size" in limits
    bare = replace(of_objects, extra={**of_objects.extra, "accuracy": None})
    assert "unknown: no objects were held out" in text_of(card(bare))


@pytest.mark.parametrize(
    ("modality", "seen"),
    [("rgb", "a colour image alone"), ("hs", "40 bands between 420 and 2400 nm alone")],
)
def test_a_classifier_of_one_image_says_of_which(of_objects: ModelMetadata, modality: str, seen: str) -> None:
    config = {**of_objects.architecture.config, "modality": modality}
    one = replace(of_objects, architecture=Architecture("bimae_classifier", config))
    assert f"Tells 3 classes of objects apart from {seen}." in text_of(card(one))


def test_a_classifier_of_objects_is_used_on_two_layers(of_objects: ModelMetadata) -> None:
    text = text_of(card(of_objects, "my seeds.safetensors"))
    assert "Classify objects from two layers , with this file as the model" in text
    assert "hsi bimae classify COLOUR SCENE --objects POLYGONS --model 'my seeds.safetensors' -o" in text
    assert 'run(TASKS["bimae_classify"](colour="colour.tif", scene="scene.tif"' in text
    assert "hsi classify" not in text


def test_a_pretrained_bimae_leads_to_a_classifier_of_objects() -> None:
    pretrained = ModelMetadata("start", "pretrained", Architecture("bimae", {"dim": 192, "depth": 12}))
    text = text_of(card(pretrained))
    assert "pretrained without labels on pairs of a colour and a hyperspectral image" in text
    assert "It has no classes: train a classifier of objects from it first." in text
    assert "Train an object classifier from two layers , with this file as the pretrained weights" in text
    assert (
        "hsi bimae finetune COLOUR SCENE --labels POLYGONS --field CLASS --weights meadows.safetensors -o"
        in text
    )
    assert "Embedding 192 Layers 12" in text


def test_instructions_quote_the_name_of_the_file(metadata: ModelMetadata) -> None:
    text = text_of(card(metadata, "my model's.safetensors"))
    assert "--model 'my model'\"'\"'s.safetensors' -o" in text
    assert 'model="my model\'s.safetensors"' in text


def test_sizes_are_those_of_the_file(metadata: ModelMetadata) -> None:
    text = text_of(card(metadata))
    assert "Network 195 F32" in text
    assert "Spectral features 40 F64" in text
    assert "1.2 MB" in text


def test_bands_are_drawn_wherever_wavelengths_are_known() -> None:
    drawn = bands_svg([2100.0, 450.0, 900.0], [10.0, 5.0, 7.0])
    assert drawn is not None
    assert drawn.startswith(b"<?xml")
    assert drawn == bands_svg([2100.0, 450.0, 900.0], [10.0, 5.0, 7.0])
    assert bands_svg([550.0], None) is not None
    assert bands_svg(None, None) is None
