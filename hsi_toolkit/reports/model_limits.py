"""What a model cannot do, or nobody has tried, as sentences."""

from collections.abc import Sequence

from hsi_toolkit.models.metadata import ModelMetadata
from hsi_toolkit.reports.accuracy import Counted
from hsi_toolkit.reports.model_figures import OF_OBJECTS, CardAccuracy, CardClass, counted_by, mapping
from hsi_toolkit.reports.pages import percent

#: Producer's or user's accuracy below which a class is named among the limits.
_WEAK = 0.75
#: Polygons, or objects, a class from which it has hardly seen any variety.
_FEW_POLYGONS, _FEW_OBJECTS = 2, 10
_OTHERS: dict[Counted, str] = {
    "pixels": "whatever is on the ground. Where it is none of them, the uncertainty is often high, but not "
    "always.",
    "objects": "whatever it is. Its probability is not calibrated and can be high where it is none of them.",
}
_QUANTITIES = {"dn": "digital numbers"}
_TRUE_ONLY_THERE = "On other scenes, dates and places expect less, and check it there."


def limits_of(metadata: ModelMetadata, accuracy: CardAccuracy, classes: Sequence[CardClass]) -> list[str]:
    """What the model cannot do or nobody has tried, as sentences."""
    if metadata.kind not in ("classifier", OF_OBJECTS):
        return _limits_of_pretrained(metadata)
    counted = counted_by(metadata)
    one = counted.removesuffix("s")
    limits = [
        f"Every {one} with data gets one of the {len(classes)} classes, {_OTHERS[counted]}",
        _trust(accuracy, metadata.provenance.data, counted),
    ]
    weak = [
        f"{each.entry.name} ({' and '.join(figures)})" for each in classes if (figures := _weak_figures(each))
    ]
    if weak:
        limits.append(f"Classes that are often taken for another, or another for them: {', '.join(weak)}.")
    if counted == "objects":
        return limits + _limits_of_objects(metadata, classes) + _needs(metadata)
    scarce = [
        f"{each.entry.name} ({each.polygons})"
        for each in classes
        if each.polygons is not None and each.polygons <= _FEW_POLYGONS
    ]
    if scarce and mapping(metadata.extra.get("labelled")).get("geometry") == "polygon":
        limits.append(
            f"Classes learned from one or two polygons alone, which show little of their variety: "
            f"{', '.join(scarce)}."
        )
    return limits + _needs(metadata)


def _limits_of_objects(metadata: ModelMetadata, classes: Sequence[CardClass]) -> list[str]:
    limits = []
    scarce = [
        f"{each.entry.name} ({each.learned})"
        for each in classes
        if each.learned is not None and each.learned < _FEW_OBJECTS
    ]
    if scarce:
        limits.append(
            f"Classes learned from fewer than {_FEW_OBJECTS} objects, which show little of their variety: "
            f"{', '.join(scarce)}."
        )
    config = metadata.preprocessing.config if metadata.preprocessing else {}
    margin = config.get("margin")
    around = "what lies outside an outline is blanked out"
    if config.get("blank") is not True:
        share = f", and {100 * margin:g} % of its size around it" if isinstance(margin, int | float) else ""
        around = f"the network sees the square around an outline{share}"
    limits.append(f"Objects must be outlined as those were that it was trained on: {around}.")
    limits.append("Every object fills its images, small or large: it cannot tell classes apart by size.")
    return limits


def _trust(accuracy: CardAccuracy, data: Sequence[str], counted: Counted) -> str:
    units = "polygons" if counted == "pixels" else "objects"
    if not accuracy.measured:
        return f"How accurate it is, is unknown: no {units} were held out when it was trained."
    if not accuracy.independent:
        return f"The figures were measured on {counted} it was trained on and say nothing about others."
    where = "the scene it was trained on" if len(data) == 1 else "the scenes it was trained on"
    if counted == "objects":
        where = "the data it was trained on"
    return f"The accuracy is that of {units} of {where} which it had not seen. {_TRUE_ONLY_THERE}"


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
    size = pixel_size(metadata)
    if size and metadata.architecture.config.get("context"):
        needs.append(f"It looks at neighbouring pixels and has seen pixels of {size} alone.")
    return needs


def _limits_of_pretrained(metadata: ModelMetadata) -> list[str]:
    what = "a classifier of objects" if is_bimae(metadata) else "a classifier"
    limits = [f"It has no classes: train {what} from it first."] if metadata.kind == "pretrained" else []
    if metadata.provenance.licence in ("not stated", "unknown"):
        limits.append("Its publisher states no licence: ask before you pass it on.")
    return limits + _needs(metadata)


def pixel_size(metadata: ModelMetadata) -> str | None:
    """Pixel size of the training grid in metres; None where it has no coordinates in metres."""
    grid = mapping(metadata.extra.get("training_pixels"))
    transform, crs = grid.get("transform"), grid.get("crs")
    if not isinstance(crs, str) or not crs.startswith("PROJCS") or not isinstance(transform, list):
        return None
    numbers = [float(each) for each in transform if isinstance(each, int | float)]
    return f"{(numbers[0] ** 2 + numbers[3] ** 2) ** 0.5:g} m" if len(numbers) == 6 else None


def is_bimae(metadata: ModelMetadata) -> bool:
    """Whether it is a pretrained BiMAE."""
    return metadata.architecture.name == "bimae"
