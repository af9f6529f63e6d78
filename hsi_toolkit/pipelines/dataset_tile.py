"""Make a data set of patches from scenes."""

from collections.abc import Mapping

from hsi_toolkit.datasets import TileRule, tile_scenes
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.tasks.dataset_tile import DatasetTile


def run(task: DatasetTile, progress: Progress) -> Mapping[str, object]:
    """Cut every scene, then divide the patches."""
    rule = TileRule(task.side, task.maximum or None, task.valid, task.seed)
    counts = tile_scenes([open_scene(path) for path in task.scenes], task.output, rule, progress=progress)
    return {
        "summary": f"{counts['all']} patches of {task.side} × {task.side} pixels from {len(task.scenes)} "
        f"scene{'s' if len(task.scenes) > 1 else ''}.",
        "facts": {
            "Training": f"{counts['train']} patches",
            "Validation": f"{counts['val']} patches",
            "Test": f"{counts['test']} patches",
        },
        "outputs": {"dataset": task.output},
        "patches": counts["all"],
    }
