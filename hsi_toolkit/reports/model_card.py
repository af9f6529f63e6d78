"""The card of a model: what it is, where it comes from, how far to trust it, as one HTML page.

After Mitchell et al. (2019). Everything is read from the model file's header, so the same file gives the same
page, and a file of any size does so at once.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsi_toolkit import __version__
from hsi_toolkit.models.header import TensorEntry
from hsi_toolkit.models.metadata import Json, ModelMetadata
from hsi_toolkit.reports.estimates import LEVEL, Estimate
from hsi_toolkit.reports.pages import data_uri, number, page_template, percent
from hsi_toolkit.reports.plots import TrainingCurve, bands_svg, curve_svg
from hsi_toolkit.scene.class_map import ClassEntry

#: Producer's or user's accuracy below which a class is named among the limits.
_WEAK = 0.75
#: Polygons a class from which it has hardly seen any variety.
_FEW_POLYGONS = 2
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
}
_TRUE_ONLY_THERE = "On other scenes, dates and places expect less, and check it there."


@dataclass(frozen=True)
class CardClass:
    """A class: its place in the map, what it was learned from, and its figures where they are known."""

    entry: ClassEntry
    pixels: int | None
    polygons: int | None
    users: Estimate
    producers: Estimate
    f1: Estimate


@dataclass(frozen=True)
class CardAccuracy:
    """The figures of held-out polygons as a model file stores them.

    ``measured`` is false where there are none. Those of an older file may be without intervals.
    """

    measured: bool
    independent: bool
    measure: str
    overall: Estimate
    average: Estimate
    kappa: Estimate
    pixels: int | None
    polygons: int | None
    level: float
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, metadata: ModelMetadata) -> "CardAccuracy":
        """From the accuracy report in the file, else from its bare metrics."""
        stored, metrics = _mapping(metadata.extra.get("accuracy")), metadata.provenance.metrics
        bare = {"overall": "overall_accuracy", "average": "average_accuracy", "kappa": "kappa"}
        figures = {
            name: Estimate.from_dict(stored.get(name) if stored else {"value": metrics.get(old)})
            for name, old in bare.items()
        }
        level = stored.get("level")
        return cls(
            measured=figures["overall"].value is not None,
            independent=stored.get("independent") is not False,
            measure=str(stored.get("measure", "Accuracy")),
            pixels=_count(stored.get("pixels")),
            polygons=_count(stored.get("polygons")),
            level=float(level) if isinstance(level, float) else LEVEL,
            sentences=_texts(stored.get("basis")),
            warnings=_texts(stored.get("warnings")),
            **figures,
        )


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
    accuracy, classes = CardAccuracy.of(metadata), _classes(metadata)
    bands = metadata.preprocessing.bands if metadata.preprocessing else None
    losses = metadata.provenance.metrics.get("losses")
    curve = _curve(losses)
    return page_template("card.html.j2").render(
        metadata=metadata,
        file=Path(file).name,
        shell_file=shlex.quote(Path(file).name),
        python_file=json.dumps(Path(file).name, ensure_ascii=False),
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
        limits=_limits(metadata, accuracy, classes),
        version=__version__,
    )


def _lead(metadata: ModelMetadata) -> str:
    bands = metadata.preprocessing.bands if metadata.preprocessing else None
    seen = "" if bands is None else f" from {len(bands)} bands"
    if bands is not None and bands.wavelength:
        seen += f" between {min(bands.wavelength):.0f} and {max(bands.wavelength):.0f} nm"
    if metadata.kind == "classifier":
        return f"Tells {len(metadata.classes)} classes apart{seen}."
    if metadata.kind == "pretrained":
        return "A network pretrained without labels: the start of a training, not yet a classifier."
    return f"A model of the kind {metadata.kind}{seen}."


def _facts(metadata: ModelMetadata, size: int) -> dict[str, str]:
    preprocessing, origin = metadata.preprocessing, metadata.provenance
    return {
        "Kind": metadata.kind,
        "Sensor": (preprocessing.sensor or "not stated") if preprocessing else "any",
        "Quantity": (preprocessing.quantity or "not stated") if preprocessing else "any",
        "Licence": origin.licence,
        "Size of the file": f"{size / 1e6:,.1f} MB",
        "Made with": f"hsi_toolkit {origin.code_version}",
        "Made on": origin.created.replace("T", " ").replace("+00:00", " UTC"),
    }


def _classes(metadata: ModelMetadata) -> tuple[CardClass, ...]:
    learned = _by_name(_mapping(metadata.extra.get("labelled")).get("classes"))
    judged = _by_name(_mapping(metadata.extra.get("accuracy")).get("classes"))
    return tuple(
        CardClass(
            entry,
            _count(learned.get(entry.name, {}).get("pixels")),
            _count(learned.get(entry.name, {}).get("groups")),
            *(
                Estimate.from_dict(judged.get(entry.name, {}).get(figure))
                for figure in ("users", "producers", "f1")
            ),
        )
        for entry in metadata.classes
    )


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
    network = _mapping(config.get("network")) or config
    side = network.get("img_size")
    facts: dict[str, object] = {
        "Architecture": _ARCHITECTURES.get(metadata.architecture.name, metadata.architecture.name),
        "Window": f"{side} × {side} pixels" if isinstance(side, int) else None,
        "Looks at neighbours": config.get("context"),
        "Share of the network": config.get("network_weight"),
        "Embedding": network.get("embed_dim"),
        "Layers": network.get("depth"),
        "Heads": network.get("num_heads"),
    }
    if metadata.preprocessing and metadata.preprocessing.features:
        facts["Spectral features"] = metadata.preprocessing.features
    return {name: value for name, value in facts.items() if value is not None}


def _training(metadata: ModelMetadata) -> dict[str, object]:
    origin = metadata.provenance
    pixels = _count(_mapping(metadata.extra.get("labelled")).get("pixels"))
    facts: dict[str, object] = {
        "Data": list(origin.data),
        "Labels": origin.labels,
        "Labelled pixels": None if pixels is None else number(pixels),
        "Pixel size": _pixel_size(metadata),
        "Started from": origin.source or "random weights",
        "Seed": origin.seed,
        **{str(name).replace("_", " ").capitalize(): value for name, value in origin.parameters.items()},
    }
    return {name: value for name, value in facts.items() if value not in (None, [], "")}


def _limits(metadata: ModelMetadata, accuracy: CardAccuracy, classes: Sequence[CardClass]) -> list[str]:
    """What the model cannot do or nobody has tried, as sentences."""
    if metadata.kind != "classifier":
        return _limits_of_pretrained(metadata)
    limits = [
        f"Every pixel with data gets one of the {len(classes)} classes, whatever is on the ground. Where it "
        "is none of them, the uncertainty is often high, but not always.",
        _trust(accuracy, metadata.provenance.data),
    ]
    weak = [
        f"{each.entry.name} ({' and '.join(figures)})" for each in classes if (figures := _weak_figures(each))
    ]
    if weak:
        limits.append(f"Classes that are often taken for another, or another for them: {', '.join(weak)}.")
    scarce = [
        f"{each.entry.name} ({each.polygons})"
        for each in classes
        if each.polygons is not None and each.polygons <= _FEW_POLYGONS
    ]
    if scarce and _mapping(metadata.extra.get("labelled")).get("geometry") == "polygon":
        limits.append(
            f"Classes learned from one or two polygons alone, which show little of their variety: "
            f"{', '.join(scarce)}."
        )
    return limits + _needs(metadata)


def _trust(accuracy: CardAccuracy, data: Sequence[str]) -> str:
    if not accuracy.measured:
        return "How accurate it is, is unknown: no polygons were held out when it was trained."
    if not accuracy.independent:
        return "The figures were measured on pixels it was trained on and say nothing about others."
    where = "the scene it was trained on" if len(data) == 1 else "the scenes it was trained on"
    return f"The accuracy is that of polygons of {where} which it had not seen. {_TRUE_ONLY_THERE}"


def _weak_figures(each: CardClass) -> list[str]:
    named = {"user's": each.users.value, "producer's": each.producers.value}
    return [
        f"{name} {percent(value)}" for name, value in named.items() if value is not None and value < _WEAK
    ]


def _needs(metadata: ModelMetadata) -> list[str]:
    """What a scene must bring."""
    preprocessing = metadata.preprocessing
    if preprocessing is None:
        return []
    needs, centres = [], preprocessing.bands.wavelength
    if preprocessing.quantity:
        needs.append(
            f"It expects {_QUANTITIES.get(preprocessing.quantity, preprocessing.quantity)}, made the way the "
            "training data was."
        )
    if centres:
        needs.append(
            f"A scene must cover {min(centres):.0f} to {max(centres):.0f} nm; that of another sensor is "
            "resampled to the model's bands, which has its price."
        )
    else:
        needs.append(
            f"It knows no wavelengths: a scene must have the same {preprocessing.bands.scene_bands} bands in "
            "the same order."
        )
    size = _pixel_size(metadata)
    if size and metadata.architecture.config.get("context"):
        needs.append(f"It looks at neighbouring pixels and has seen pixels of {size} alone.")
    return needs


_QUANTITIES = {"dn": "digital numbers"}


def _limits_of_pretrained(metadata: ModelMetadata) -> list[str]:
    limits = ["It has no classes: train a classifier from it first."] if metadata.kind == "pretrained" else []
    if metadata.provenance.licence in ("not stated", "unknown"):
        limits.append("Its publisher states no licence: ask before you pass it on.")
    return limits + _needs(metadata)


def _pixel_size(metadata: ModelMetadata) -> str | None:
    """Pixel size of the training grid in metres; None where it has no coordinates in metres."""
    grid = _mapping(metadata.extra.get("training_pixels"))
    transform, crs = grid.get("transform"), grid.get("crs")
    if not isinstance(crs, str) or not crs.startswith("PROJCS") or not isinstance(transform, list):
        return None
    numbers = [float(each) for each in transform if isinstance(each, int | float)]
    return f"{(numbers[0] ** 2 + numbers[3] ** 2) ** 0.5:g} m" if len(numbers) == 6 else None


def _curve(losses: Json) -> TrainingCurve | None:
    if not isinstance(losses, list) or len(losses) < 2:
        return None
    values = [float(each) if isinstance(each, int | float) else float("nan") for each in losses]
    return TrainingCurve({"reconstruction": values}, {})


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _by_name(value: Json) -> dict[str, Mapping[str, Json]]:
    items = [_mapping(each) for each in value] if isinstance(value, list) else []
    return {str(each.get("name")): each for each in items}


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
