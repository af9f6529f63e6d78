"""What a model file knows of its classes and of how accurate it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from hsi_toolkit.models.metadata import Json, ModelMetadata
from hsi_toolkit.reports.accuracy import Counted
from hsi_toolkit.reports.estimates import LEVEL, Estimate
from hsi_toolkit.scene.class_map import ClassEntry

#: The kind of classifiers that give whole objects a class, from a colour and a hyperspectral image.
OF_OBJECTS = "object_classifier"


@dataclass(frozen=True)
class CardClass:
    """A class: its place in the map, what it was learned from, and its figures where they are known."""

    entry: ClassEntry
    learned: int | None
    polygons: int | None
    users: Estimate
    producers: Estimate
    f1: Estimate


@dataclass(frozen=True)
class CardAccuracy:
    """The figures of held-out polygons or objects as a model file stores them.

    ``measured`` is false where there are none. Those of an older file may be without intervals.
    """

    measured: bool
    independent: bool
    measure: str
    overall: Estimate
    average: Estimate
    kappa: Estimate
    total: int | None
    polygons: int | None
    level: float
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, metadata: ModelMetadata) -> "CardAccuracy":
        """From the accuracy report in the file, else from its bare metrics."""
        stored, metrics = mapping(metadata.extra.get("accuracy")), metadata.provenance.metrics
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
            total=count(stored.get(counted_by(metadata))),
            polygons=count(stored.get("polygons")),
            level=float(level) if isinstance(level, float) else LEVEL,
            sentences=_texts(stored.get("basis")),
            warnings=_texts(stored.get("warnings")),
            **figures,
        )


def counted_by(metadata: ModelMetadata) -> Counted:
    """What a classifier gives classes."""
    return "objects" if metadata.kind == OF_OBJECTS else "pixels"


def classes_of(metadata: ModelMetadata) -> tuple[CardClass, ...]:
    """The classes, with what the file knows of each."""
    learned = _by_name(mapping(metadata.extra.get("labelled")).get("classes"))
    judged = _by_name(mapping(metadata.extra.get("accuracy")).get("classes"))
    return tuple(
        CardClass(
            entry,
            count(learned.get(entry.name, {}).get(counted_by(metadata))),
            count(learned.get(entry.name, {}).get("groups")),
            *(
                Estimate.from_dict(judged.get(entry.name, {}).get(figure))
                for figure in ("users", "producers", "f1")
            ),
        )
        for entry in metadata.classes
    )


def mapping(value: Json) -> Mapping[str, Json]:
    """The mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def _by_name(value: Json) -> dict[str, Mapping[str, Json]]:
    items = [mapping(each) for each in value] if isinstance(value, list) else []
    return {str(each.get("name")): each for each in items}


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def count(value: Json) -> int | None:
    """The whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
