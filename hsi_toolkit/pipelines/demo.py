"""The main job on a scene the project makes itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsi_toolkit.demo import make_demo_scene
from hsi_toolkit.pipelines import map as polygons_to_map
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import read_class_map
from hsi_toolkit.tasks.demo import Demo
from hsi_toolkit.tasks.map import Map


def run(task: Demo, progress: Progress) -> Mapping[str, object]:
    """Make the scene and its polygons, go from them to a map, and compare it with the truth."""
    folder = Path(task.output)
    files = make_demo_scene(
        folder, seed=task.seed, overwrite=task.overwrite, progress=progress.part(0.0, 0.05)
    )
    result = polygons_to_map.run(
        Map(
            scene=str(files.scene),
            labels=str(files.labels),
            field=files.field,
            output=str(folder),
            device=task.device,
            seed=task.seed,
            memory_limit=task.memory_limit,
            overwrite=task.overwrite,
        ),
        progress.part(0.05, 1.0),
    )
    agreement = _agreement(folder / polygons_to_map.FILES["map"], files.reference)
    return {
        **result,
        "summary": f"{result['summary']} The truth is known here: {agreement:.1%} of all pixels are right.",
        "true_overall_accuracy": agreement,
    }


def _agreement(class_map: Path, reference: Path) -> float:
    """Share of the pixels that the map gives the class of the same name as the reference."""

    mapped, of_map = read_class_map(class_map)
    truth, of_truth = read_class_map(reference)
    right = np.zeros(mapped.shape, bool)
    numbers = {entry.name: entry.value for entry in of_map}
    for entry in of_truth:
        if entry.name in numbers:
            right |= (truth == entry.value) & (mapped == numbers[entry.name])
    return float(right[truth > 0].mean())
