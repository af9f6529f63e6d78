"""Find a known material in a scene."""

from collections.abc import Mapping
from typing import cast

from hsi_toolkit.blockwise.cluster import processes_for, refuse_cluster
from hsi_toolkit.detection.maps import DetectionMap, summary_of, write_scores
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.signatures import read_signatures
from hsi_toolkit.detection.targets import Method, TargetDetector
from hsi_toolkit.detection.thresholds import false_alarm_threshold
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.tasks.target import Target


def run(task: Target, progress: Progress) -> Mapping[str, object]:
    """Read the target's spectra, measure the background, score the scene and write both rasters."""
    outputs = {"scores": task.output} | ({"detections": task.detections} if task.detections else {})
    for path in outputs.values():
        check_output(path, overwrite=task.overwrite)
    scene = open_scene(task.scene, task.variable).hsi.good_bands
    target = read_signatures(task.target, scene, field=task.field, value=task.value, layer=task.layer)
    if task.method == "hypersigma":
        refuse_cluster(task.cluster, task.method)
        from hsi_toolkit.pipelines.learned_detection import learned_target

        return {**learned_target(task, scene, target, progress), "outputs": outputs}
    detector = TargetDetector(target.signatures, cast("Method", task.method), task.robust)
    memory = task.memory_limit * 2**20 if task.memory_limit else None
    rate = task.false_alarm_rate
    detections = None
    if task.detections:
        detections = DetectionMap(
            task.detections, "target", lambda scores: false_alarm_threshold(scores, rate, detector.tail)
        )
    with processes_for(task.cluster) as cluster:
        scan = Scan(
            scene,
            progress,
            passes=detector.passes,
            memory_limit=memory,
            compute=Compute.on(task.device),
            cluster=cluster,
        )
        found = write_scores(
            detector.scores(scan),
            task.output,
            scene,
            description=f"target score ({task.method})",
            detections=detections,
            overwrite=task.overwrite,
            progress=progress,
        )
    result = summary_of(found, rate, "targets")
    facts = cast("dict[str, str]", result.get("facts", {}))
    return {
        **result,
        "facts": {"Examples": target.source} | facts,
        "warnings": list(target.warnings),
        "signatures": len(target.signatures),
        "outputs": outputs,
    }
