"""Map a model's classes over a scene."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from hsi_toolkit.blockwise.cluster import Cluster, processes_for
from hsi_toolkit.blockwise.journal import journal_path
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.classify import MapOutputs, classify_scene
from hsi_toolkit.pipelines.models import TRAINING_PIXELS, open_classifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.tasks.classify import Classify

#: Tags of the map: the model's name, and the pixels it was trained on, so that judging can leave them out.
MODEL_TAG = "HSI_MODEL"
TRAINING_TAG = "HSI_TRAINING_PIXELS"


def run(
    task: Classify,
    progress: Progress,
    *,
    journal: Path | None = None,
    keep_journal: bool = False,
    cluster: Cluster | None = None,
) -> Mapping[str, object]:
    """Stream the scene through the model and write the map and what else was asked for.

    Args:
        journal: where finished blocks are remembered; None: beside the map.
        keep_journal: leave it there, for a caller whose work is not whole with the map.
        cluster: processes that are there already; None: those the task asks for.
    """
    targets = {"map": task.output, "probabilities": task.probabilities, "uncertainty": task.uncertainty}
    outputs = {name: path for name, path in targets.items() if path}
    for path in outputs.values():
        check_output(path, overwrite=task.overwrite)
    bundle, classifier = open_classifier(task.model)
    scene = open_scene(task.scene, task.variable)
    plan = bundle.check_compatible(scene)
    if plan.note:
        progress.log(plan.note)
    tags = {MODEL_TAG: bundle.metadata.name}
    if TRAINING_PIXELS in bundle.metadata.extra:
        tags[TRAINING_TAG] = json.dumps(bundle.metadata.extra[TRAINING_PIXELS], separators=(",", ":"))
    with nullcontext(cluster) if cluster else processes_for(task.cluster, task.device) as processes:
        mapped = classify_scene(
            scene,
            classifier,
            MapOutputs(task.output, task.probabilities, task.uncertainty),
            classes=bundle.metadata.classes,
            plan=plan,
            mode="fast" if task.mode == "fast" else "exact",
            device=task.device,
            memory_limit=task.memory_limit * 2**20 if task.memory_limit else None,
            tags=tags,
            overwrite=task.overwrite,
            journal=journal or journal_path(task.output),
            keep_journal=keep_journal,
            cluster=processes,
            progress=progress,
        )
    names = [entry.name for entry in bundle.metadata.classes]
    return {
        "summary": f"Mapped {sum(mapped.pixels):,} pixels in {len(names)} classes.",
        "outputs": outputs,
        "warnings": [plan.note] if plan.note else [],
        "pixels": dict(zip(names, mapped.pixels, strict=True)),
        "without_data": mapped.without_data,
        "resumed_blocks": mapped.resumed,
    }
