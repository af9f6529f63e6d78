"""Find what has changed between two scenes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import processes_for, refuse_cluster
from hsi_toolkit.change.decision import ChangeTypes, cluster_changes, no_change_threshold
from hsi_toolkit.change.detectors import Method, PairModel, fit_pair
from hsi_toolkit.change.pair import ScenePair, Spectra
from hsi_toolkit.change.registration import TOLERANCE, Registration, check_registration
from hsi_toolkit.detection.scan import spectra_of
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import Block, ClassEntry, RasterWriter, open_scene
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.tasks.change import Change
from hsi_toolkit.training.palette import palette, rgb
from hsi_toolkit.training.pseudo_labels import ScoreRaster, kept_on_disk

UNCHANGED, CHANGED = 1, 2
_GREY, _RED = (225, 225, 225), (227, 26, 28)

#: Below this share of unchanged pixels the normalisation rests on little.
_FEW_INVARIANT = 0.02


@dataclass(frozen=True)
class _Decision:
    """The model of both dates, the threshold and the types of change with their names.

    ``scores`` are those of a network where there is one, and ``learning`` says how it came about.
    """

    model: PairModel
    threshold: float
    types: ChangeTypes | None
    names: list[str]
    scores: ScoreRaster | None = None
    learning: Mapping[str, str] = field(default_factory=dict)


def run(task: Change, progress: Progress) -> Mapping[str, object]:
    """Check the registration, learn no change from a sample, then score both scenes side by side."""
    outputs = {"scores": task.output}
    outputs |= {name: path for name, path in (("map", task.map), ("types", task.types)) if path}
    if task.method == "hypersigma":
        refuse_cluster(task.cluster, task.method)
    for path in outputs.values():
        check_output(path, overwrite=task.overwrite)
    pair = ScenePair.of(open_scene(task.before), open_scene(task.after))
    registration = check_registration(pair, progress.part(0.0, 0.05))
    sample = pair.sample(progress.part(0.05, 0.15))
    progress.report(0.15, "Learning what has not changed")
    made = 0.9 if task.method == "hypersigma" else 0.25
    with _decided(task, pair, sample, progress.part(0.15, made)) as decision:
        pixels, changed = _write(task, pair, decision, progress.part(made, 1.0))
    share = changed / pixels if pixels else 0.0
    normalisation = decision.model.normalisation
    return {
        "summary": f"{changed:,} of {pixels:,} pixels ({share:.2%}) have changed.",
        "facts": _facts(registration, decision),
        "warnings": _warnings(registration, decision),
        "outputs": outputs,
        "threshold": decision.threshold,
        "pixels": pixels,
        "changed_pixels": changed,
        "shift_pixels": None if registration is None else [registration.rows, registration.columns],
        "invariant_share": normalisation.invariant,
        "gain": normalisation.gain.tolist(),
        "offset": normalisation.offset.tolist(),
        "types": decision.names,
    }


@contextmanager
def _decided(
    task: Change, pair: ScenePair, sample: tuple[Spectra, Spectra], progress: Progress
) -> Iterator[_Decision]:
    """The decision; a network's scores, which it then holds, lie on disk until the block ends."""
    if task.method != "hypersigma":
        yield _decide(task, pair, *sample)
        return
    # PyTorch takes a second to load, which the other methods do without.
    from hsi_toolkit.change.learned import EVEN_ODDS, learn_change
    from hsi_toolkit.training.per_scene import Start

    decision = _decide(replace(task, method="auto", threshold=None), pair, *sample)
    start, memory = Start(task.size, task.weights, task.seed, task.device), _memory(task)
    learned = learn_change(pair, decision.model, sample, start, task.epochs, progress.part(0.0, 0.5), memory)
    with kept_on_disk(learned.scores(pair, progress.part(0.5, 1.0), memory), pair.shape) as scores:
        threshold = EVEN_ODDS if task.threshold is None else task.threshold
        yield replace(decision, threshold=threshold, scores=scores, learning=learned.learning.facts())


def _decide(task: Change, pair: ScenePair, before: Spectra, after: Spectra) -> _Decision:
    """Everything that is known before the first pixel is written."""
    model = fit_pair(before, after, cast("Method", task.method))
    scores = model.detector.scores(before, after, Compute())
    threshold = no_change_threshold(scores) if task.threshold is None else task.threshold
    changed = scores > threshold
    if not task.types or not changed.any():
        return _Decision(model, threshold, None, [])
    differences = model.difference.differences(before[changed], after[changed])
    types = cluster_changes(differences, task.type_count)
    if types is None:
        return _Decision(model, threshold, None, [])
    later = model.normalisation.apply(after[changed])
    names = _type_names(types.assign(differences), later - before[changed], model, pair.before)
    return _Decision(model, threshold, types, names)


def _type_names(
    numbers: NDArray[np.intp], differences: Spectra, model: PairModel, scene: xr.DataArray
) -> list[str]:
    """What each type of change does: brighter or darker, and the band where it shows most."""
    names = []
    for number in range(int(numbers.max()) + 1):
        members = differences[numbers == number]
        if not len(members):
            names.append(f"change {number + 1}")
            continue
        mean = members.mean(axis=0)
        strongest = int(np.argmax(np.abs(mean) / np.maximum(model.normalisation.spread, 1e-12)))
        way = "brighter" if mean[strongest] > 0 else "darker"
        place = f"band {int(scene['band'][strongest])}" if "band" in scene.coords else f"band {strongest + 1}"
        if "wavelength" in scene.coords:
            place = f"{float(scene['wavelength'][strongest]):.0f} nm"
        names.append(f"change {number + 1}: {way}, most at {place}")
    return names


def _write(task: Change, pair: ScenePair, decision: _Decision, progress: Progress) -> tuple[int, int]:
    """Score block by block into all outputs at once; returns scored and changed pixels."""
    compute = Compute.on(task.device)
    pixels = changed = 0
    with ExitStack() as stack:
        scores_writer = stack.enter_context(
            RasterWriter(
                task.output,
                like=pair.before,
                descriptions=[f"change score ({task.method})"],
                overwrite=task.overwrite,
            )
        )
        legends = {task.map: _map_legend(), task.types: _types_legend(decision)}
        writers = {
            path: stack.enter_context(
                RasterWriter(
                    path,
                    like=pair.before,
                    dtype=np.uint8,
                    nodata=0,
                    classes=legend,
                    overwrite=task.overwrite,
                )
            )
            for path, legend in legends.items()
            if path
        }
        score = partial(_score, decision, compute)
        cluster = stack.enter_context(processes_for(task.cluster))
        for y0, (scores, types) in pair.map(score, progress, "Comparing the scenes", _memory(task), cluster):
            scores_writer.write(scores, y0)
            known, above = np.isfinite(scores), scores > decision.threshold
            pixels, changed = pixels + int(known.sum()), changed + int(above.sum())
            binary = np.where(above, CHANGED, UNCHANGED) * known
            for path, values in ((task.map, binary), (task.types, types)):
                if path:
                    writers[path].write(values.astype(np.uint8), y0)
    return pixels, changed


def _memory(task: Change) -> int | None:
    return task.memory_limit * 2**20 if task.memory_limit else None


def _score(
    decision: _Decision, compute: Compute, before: Block, after: Block
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores (rows, columns) of the same lines, NaN without data, and the numbers of the types map."""
    spectra = spectra_of(before.core), spectra_of(after.core)
    if decision.scores is None:
        detector = compute.place(decision.model.detector)
        scores = compute.pixelwise(
            lambda first, second: detector.scores(first, second, compute), *spectra, dtype=np.float64
        )
    else:
        scores = decision.scores.values[before.y0 : before.y1].ravel()
    above = scores > decision.threshold
    types = np.where(np.isfinite(scores), np.uint8(UNCHANGED), np.uint8(0))
    types[above] = CHANGED
    if decision.types is not None and above.any():
        changed = (each[above].astype(np.float64) for each in spectra)
        moved = decision.model.difference.differences(*changed)
        types[above] += decision.types.assign(moved).astype(np.uint8)
    shape = before.core.shape[1:]
    return scores.reshape(shape), types.reshape(shape)


def _map_legend() -> list[ClassEntry]:
    return [ClassEntry(UNCHANGED, "unchanged", _GREY), ClassEntry(CHANGED, "changed", _RED)]


def _types_legend(decision: _Decision) -> list[ClassEntry]:
    names = decision.names or ["changed"]
    colours = [rgb(colour) for colour in palette(len(names))]
    entries = [
        ClassEntry(CHANGED + number, name, colour)
        for number, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]
    return [ClassEntry(UNCHANGED, "unchanged", _GREY), *entries]


def _facts(registration: Registration | None, decision: _Decision) -> dict[str, str]:
    facts = {"Threshold": f"{decision.threshold:.6g}"}
    if registration is not None:
        facts["Shift"] = (
            f"{registration.rows:+.2f} rows, {registration.columns:+.2f} columns "
            f"(± {registration.spread:.2f} pixels)"
        )
    facts["Unchanged pixels"] = f"{decision.model.normalisation.invariant:.1%} of the sample"
    if decision.names:
        facts["Types"] = "; ".join(decision.names)
    return facts | dict(decision.learning)


def _warnings(registration: Registration | None, decision: _Decision) -> list[str]:
    found = []
    if registration is None:
        found.append("The co-registration could not be checked: the scenes are too small or too empty.")
    elif registration.distance > TOLERANCE:
        found.append(
            f"The scenes are shifted by {registration.distance:.2f} pixels: edges will show up as change. "
            "Register one to the other first."
        )
    if decision.model.normalisation.invariant < _FEW_INVARIANT:
        found.append("Hardly any pixel looks unchanged: normalisation and threshold rest on little.")
    return found
