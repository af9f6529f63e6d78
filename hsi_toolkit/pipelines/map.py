"""Polygons to map: train, classify and report in one go."""

from collections.abc import Mapping
from pathlib import Path

from hsi_toolkit.blockwise.journal import journal_path
from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import check_output, staged_folder
from hsi_toolkit.pipelines import classify
from hsi_toolkit.pipelines.evaluate import PREVIEW_SIDE, map_metres, thinned_map
from hsi_toolkit.pipelines.train import Training, report_content, result_of, train
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.map_preview import Pixels, map_preview_png
from hsi_toolkit.reports.report import write_report
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.writer import DEPENDENT_SUFFIXES
from hsi_toolkit.tasks.classify import Classify
from hsi_toolkit.tasks.map import Map
from hsi_toolkit.tasks.train import Train

FILES = {
    "model": "model.safetensors",
    "map": "map.tif",
    "uncertainty": "uncertainty.tif",
    "preview": "preview.png",
    "report": "report.html",
    "figures": "report.json",
}


def run(task: Map, progress: Progress) -> Mapping[str, object]:
    """Train on the polygons, map the scene, and write the preview and the report."""
    folder = Path(task.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Choose another."
        ) from error
    paths = {name: folder / file for name, file in FILES.items()}
    for path in paths.values():
        check_output(path, overwrite=task.overwrite)
    trained = _train_task(task, paths)
    training = train(trained, progress.part(0.0, 0.6))
    journal = journal_path(paths["map"])
    with staged_folder(folder) as staging:
        staged = {name: staging / file for name, file in FILES.items()}
        training.bundle.save(staged["model"])
        mapped = classify.run(
            _classify_task(task, staged), progress.part(0.6, 0.95), journal=journal, keep_journal=True
        )
        progress.report(0.95, "Writing the report")
        preview = _preview(training, staged["map"])
        staged["preview"].write_bytes(preview)
        content = report_content(training, trained, map_png=preview, title=f"Map of {Path(task.scene).name}")
        write_report(content, staged["report"])
        stale = [
            folder / (FILES[name] + suffix)
            for name in ("map", "uncertainty")
            for suffix in DEPENDENT_SUFFIXES
            if not (staging / (FILES[name] + suffix)).exists()
        ]
    for path in stale:
        path.unlink(missing_ok=True)
    journal.unlink(missing_ok=True)
    training.trained.discard_checkpoint()
    return {
        **result_of(training),
        "outputs": {name: str(path) for name, path in paths.items()},
        "mapped_pixels": mapped["pixels"],
    }


def _train_task(task: Map, paths: Mapping[str, Path]) -> Train:
    shared = ("scene", "labels", "field", "method", "size", "weights", "layer", "variable", "device", "seed")
    values = {name: getattr(task, name) for name in (*shared, "memory_limit", "overwrite")}
    return Train(output=str(paths["model"]), report=str(paths["report"]), **values)


def _classify_task(task: Map, paths: Mapping[str, Path]) -> Classify:
    shared = ("scene", "mode", "variable", "device", "cluster", "memory_limit", "overwrite")
    return Classify(
        model=str(paths["model"]),
        output=str(paths["map"]),
        uncertainty=str(paths["uncertainty"]),
        **{name: getattr(task, name) for name in shared},
    )


def _preview(training: Training, map_path: Path) -> bytes:
    """The scene's colours with the polygons, and the map beside it."""
    class_map, scene = open_scene(map_path), training.scene
    classes = thinned_map(class_map)
    step = -(-max(class_map.sizes["y"], class_map.sizes["x"]) // PREVIEW_SIDE)
    rgb = scene.hsi.rgb(max_size=PREVIEW_SIDE).to_numpy()
    labels, split = training.labels, training.split
    fitted = labels if split is None else labels.select(split.train)
    test = None if split is None else labels.select(split.test)
    return map_preview_png(
        classes,
        labels.legend(),
        rgb=rgb,
        training=Pixels(fitted.rows, fitted.cols).thinned(step),
        test=None if test is None else Pixels(test.rows, test.cols).thinned(step),
        metres_per_pixel=map_metres(class_map),
    )
