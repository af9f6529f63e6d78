"""Where pairs come from: two rasters and a layer of polygons, or a data set of images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hsi_toolkit.bimodal.cutting import TwoRasters, colour_bands, cut_pairs, own_bands, with_classes
from hsi_toolkit.bimodal.folders import is_image_folder, pairs_from_folder
from hsi_toolkit.bimodal.networks import Pretrained
from hsi_toolkit.bimodal.objects import read_objects
from hsi_toolkit.bimodal.pairs import Pairs, Preparation
from hsi_toolkit.bimodal.records import pairs_from_records
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.spectral.resample import BandPlan, SensorBands, plan_bands


@dataclass(frozen=True)
class Layers:
    """Two rasters of the same ground and the polygons that bound objects in it."""

    colour: str
    scene: str
    objects: str
    field: str | None = None
    layer: str | None = None
    variable: str | None = None
    colour_bands: str | None = None


def require_source(data: str | None, layers: Mapping[str, str | None]) -> None:
    """Make sure that there is one source of pairs, a data set or layers, and that it is complete.

    Raises:
        ParameterError: it is not so.
    """
    missing = [name for name, value in layers.items() if not value]
    if data and len(missing) < len(layers):
        raise ParameterError("Both a data set and layers are given.", "Give one of them.")
    if not data and missing:
        raise ParameterError(
            f"The parameter {missing[0]!r} is missing.",
            f"Give {', '.join(layers)}, or a data set instead (--data).",
        )


def read_pairs(
    source: str | Layers, preparation: Preparation, pretrained: Pretrained | None, progress: Progress
) -> Pairs:
    """The pairs of a data set's path, or of layers.

    Where the pretrained network knows its bands, the scene is brought to these.

    Raises:
        SceneError, LabelError: they cannot be read.
        ModelError: they do not fit the pretrained network.
    """
    if isinstance(source, Layers):
        pairs = _cut(source, preparation, pretrained, progress)
    elif is_image_folder(source):
        pairs = pairs_from_folder(source, preparation, progress)
    else:
        pairs = pairs_from_records(source, preparation, progress)
    if pretrained is not None and len(pairs.bands) != pretrained.config.bands:
        raise ModelError(
            f"The pretrained network takes {pretrained.config.bands} bands; here are {len(pairs.bands)}.",
            "Give data of its sensor, or train from scratch.",
        )
    return with_classes(pairs)


def open_rasters(colour: str, scene: str, variable: str | None, wanted: SensorBands | None) -> TwoRasters:
    """Both rasters, and how the wanted bands, or all good ones, are taken from the scene.

    Raises:
        SceneError: one cannot be opened, has no coordinates, or lacks bands.
    """
    opened = open_scene(scene, variable)
    bands, plan = own_bands(opened) if wanted is None else (wanted, plan_bands(wanted, opened))
    return TwoRasters(open_scene(colour), opened, bands, plan)


def _cut(
    source: Layers, preparation: Preparation, pretrained: Pretrained | None, progress: Progress
) -> Pairs:
    progress.report(0.0, "Reading the objects")
    objects = read_objects(source.objects, source.field, source.layer)
    wanted = pretrained.bands if pretrained else None
    rasters = open_rasters(source.colour, source.scene, source.variable, wanted)
    bands = colour_bands(rasters.colour, source.colour_bands)
    pairs = cut_pairs(rasters, objects, replace(preparation, colour_bands=bands), progress)
    return replace(pairs, warnings=(*pairs.warnings, *_notes(rasters.plan)))


def _notes(plan: BandPlan) -> tuple[str, ...]:
    return (plan.note,) if plan.note else ()
