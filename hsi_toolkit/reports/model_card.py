"""The card of a model: what it is, where it comes from, how far to trust it, as one HTML page.

After Mitchell et al. (2019). Everything is read from the model file's header, so the same file gives the same
page, and a file of any size does so at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hsi_toolkit import __version__
from hsi_toolkit.models.header import TensorEntry
from hsi_toolkit.models.metadata import ModelMetadata
from hsi_toolkit.reports.model_figures import (
    OF_OBJECTS,
    CardAccuracy,
    classes_of,
    count,
    counted_by,
    mapping,
)
from hsi_toolkit.reports.model_limits import is_bimae, limits_of, pixel_size
from hsi_toolkit.reports.model_usage import usage_of
from hsi_toolkit.reports.pages import data_uri, moment, number, page_template
from hsi_toolkit.reports.plots import TrainingCurve, bands_svg, curve_svg

_PARTS = {
    "network": "Network",
    "spectral": "Spectral features",
    "experts": "Spectral experts",
    "bands": "Band numbers",
}
_ARCHITECTURES = {
    "scene_classifier": "HSIMAE network and spectral experts",
    "hsimae": "HSIMAE masked autoencoder",
    "hsimae_v1": "HSIMAE masked autoencoder, first generation",
    "bimae": "BiMAE, bimodal masked autoencoder",
    "bimae_classifier": "BiMAE encoder and a classifier of objects",
}
_GIVEN = {"bimodal": "both images", "rgb": "the colour image alone", "hs": "the hyperspectral image alone"}


@dataclass(frozen=True)
class CardPart:
    """A part of the model: its numbers and the types they are stored in."""

    name: str
    values: int
    types: str


def render_card(
    metadata: ModelMetadata, tensors: Mapping[str, TensorEntry], file: str | Path, size: int
) -> str:
    """The card as HTML: pictures inline, no script, nothing loaded from elsewhere.

    Args:
        metadata, tensors: what the model file's header says.
        file: its name, for the instructions.
        size: its bytes.
    """
    accuracy, classes = CardAccuracy.of(metadata), classes_of(metadata)
    bands = metadata.preprocessing.bands if metadata.preprocessing else None
    curve = _curve(metadata)
    return page_template("card.html.j2").render(
        metadata=metadata,
        file=Path(file).name,
        usage=usage_of(metadata, Path(file).name),
        counted=counted_by(metadata),
        lead=_lead(metadata),
        facts=_facts(metadata, size),
        accuracy=accuracy,
        classes=classes,
        colours={each.entry.name: each.entry.hex_colour for each in classes},
        bands=bands,
        bands_uri=data_uri(bands_svg(bands.wavelength, bands.fwhm) if bands else None, "image/svg+xml"),
        curve_uri=data_uri(None if curve is None else curve_svg(curve), "image/svg+xml"),
        parts=_parts(tensors),
        network=_network(metadata),
        training=_training(metadata),
        limits=limits_of(metadata, accuracy, classes),
        version=__version__,
    )


def _lead(metadata: ModelMetadata) -> str:
    bands = metadata.preprocessing.bands if metadata.preprocessing else None
    described = "" if bands is None else f"{len(bands)} bands"
    if bands is not None and bands.wavelength:
        described += f" between {min(bands.wavelength):.0f} and {max(bands.wavelength):.0f} nm"
    seen = f" from {described}" if described else ""
    if metadata.kind == "classifier":
        return f"Tells {len(metadata.classes)} classes apart{seen}."
    if metadata.kind == OF_OBJECTS:
        return f"Tells {len(metadata.classes)} classes of objects apart from {_given(metadata, described)}."
    if metadata.kind == "pretrained":
        on = " on pairs of a colour and a hyperspectral image" if is_bimae(metadata) else ""
        return f"A network pretrained without labels{on}: the start of a training, not yet a classifier."
    return f"A model of the kind {metadata.kind}{seen}."


def _given(metadata: ModelMetadata, bands: str) -> str:
    """What a classifier of objects looks at; ``bands`` are those of its hyperspectral image."""
    modality, bands = metadata.architecture.config.get("modality"), bands or "a hyperspectral image"
    if modality == "bimodal":
        return f"a colour image and {bands}"
    return f"{bands if modality == 'hs' else 'a colour image'} alone"


def _facts(metadata: ModelMetadata, size: int) -> dict[str, str]:
    preprocessing, origin = metadata.preprocessing, metadata.provenance
    return {
        "Kind": metadata.kind.replace("_", " "),
        "Sensor": (preprocessing.sensor or "not stated") if preprocessing else "any",
        "Quantity": (preprocessing.quantity or "not stated") if preprocessing else "any",
        "Licence": origin.licence,
        "Size of the file": f"{size / 1e6:,.1f} MB",
        "Made with": f"hsi_toolkit {origin.code_version}",
        "Made on": moment(origin.created),
    }


def _parts(tensors: Mapping[str, TensorEntry]) -> list[CardPart]:
    """The parts, the largest first; the part of a tensor is what its name has before the first dot."""
    found: dict[str, list[TensorEntry]] = {}
    for name, entry in tensors.items():
        found.setdefault(name.split(".")[0], []).append(entry)
    parts = [
        CardPart(
            _PARTS.get(part, part),
            sum(entry.n_values for entry in entries),
            ", ".join(sorted({entry.dtype for entry in entries})),
        )
        for part, entries in found.items()
    ]
    return sorted(parts, key=lambda part: (-part.values, part.name))


def _network(metadata: ModelMetadata) -> dict[str, object]:
    """The settings of the architecture that a reader can make use of."""
    config = metadata.architecture.config
    network = mapping(config.get("network")) or config
    side = network.get("img_size")
    facts: dict[str, object] = {
        "Architecture": _ARCHITECTURES.get(metadata.architecture.name, metadata.architecture.name),
        "Window": f"{side} × {side} pixels" if isinstance(side, int) else None,
        "Looks at neighbours": config.get("context"),
        "Share of the network": config.get("network_weight"),
        "Given": _GIVEN.get(str(config.get("modality"))),
        **_images(metadata),
        "Embedding": network.get("embed_dim", network.get("dim")),
        "Layers": network.get("depth"),
        "Heads": network.get("num_heads", network.get("heads")),
    }
    if metadata.preprocessing and metadata.preprocessing.features:
        facts["Spectral features"] = metadata.preprocessing.features
    return {name: value for name, value in facts.items() if value is not None}


def _images(metadata: ModelMetadata) -> dict[str, str]:
    """The two images that BiMAE's networks take of an object."""
    if metadata.preprocessing is None or not metadata.architecture.name.startswith("bimae"):
        return {}
    config = metadata.preprocessing.config
    sides = {"Colour image": config.get("side"), "Hyperspectral image": config.get("patch")}
    return {name: f"{side} × {side} pixels" for name, side in sides.items() if isinstance(side, int)}


def _training(metadata: ModelMetadata) -> dict[str, object]:
    origin = metadata.provenance
    counted = counted_by(metadata)
    labelled = count(mapping(metadata.extra.get("labelled")).get(counted))
    facts: dict[str, object] = {
        "Data": list(origin.data),
        "Labels": origin.labels,
        f"Labelled {counted}": None if labelled is None else number(labelled),
        "Pixel size": pixel_size(metadata),
        "Started from": origin.source or "random weights",
        "Seed": origin.seed,
        **{str(name).replace("_", " ").capitalize(): value for name, value in origin.parameters.items()},
    }
    return {name: value for name, value in facts.items() if value not in (None, [], "")}


def _curve(metadata: ModelMetadata) -> TrainingCurve | None:
    losses = metadata.provenance.metrics.get("losses")
    if not isinstance(losses, list) or len(losses) < 2:
        return None
    values = [float(each) if isinstance(each, int | float) else float("nan") for each in losses]
    return TrainingCurve({"classes" if metadata.classes else "reconstruction": values}, {})
