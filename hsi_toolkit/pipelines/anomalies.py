"""Find what is unusual in a scene."""

from collections.abc import Mapping

from hsi_toolkit.blockwise.cluster import processes_for, refuse_cluster
from hsi_toolkit.detection.anomalies import AnomalyDetector, GlobalRX, QuasiLocalRX, SubspaceRX
from hsi_toolkit.detection.local import LocalRX
from hsi_toolkit.detection.maps import DetectionMap, summary_of, write_scores
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.thresholds import ScoreDistribution, false_alarm_threshold
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.tasks.anomalies import Anomalies


def run(task: Anomalies, progress: Progress) -> Mapping[str, object]:
    """Measure the background, score the scene and write both rasters."""
    outputs = {"scores": task.output} | ({"detections": task.detections} if task.detections else {})
    for path in outputs.values():
        check_output(path, overwrite=task.overwrite)
    scene = open_scene(task.scene, task.variable).hsi.good_bands
    if task.method == "hypersigma":
        refuse_cluster(task.cluster, task.method)
        from hsi_toolkit.pipelines.learned_detection import learned_anomalies

        return {**learned_anomalies(task, scene, progress), "outputs": outputs}
    detector = detector_of(task)
    memory = task.memory_limit * 2**20 if task.memory_limit else None
    detections = None
    if task.detections:
        detections = DetectionMap(task.detections, "anomaly", lambda scores: _threshold(scores, task))
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
            description=f"anomaly score ({task.method})",
            detections=detections,
            overwrite=task.overwrite,
            progress=progress,
        )
    return {**summary_of(found, task.false_alarm_rate, "anomalies"), "outputs": outputs}


def detector_of(task: Anomalies) -> AnomalyDetector:
    """The detector a task asks for.

    Raises:
        ParameterError: the guard window is not smaller than the outer one.
    """
    if task.guard >= task.window:
        raise ParameterError(
            f"The guard of {task.guard} pixels is not smaller than the window of {task.window}.",
            "Make the window larger, so that surroundings remain.",
        )
    detectors: dict[str, AnomalyDetector] = {
        "auto": QuasiLocalRX(task.guard, task.window),
        "rx": GlobalRX(task.robust),
        "local-rx": LocalRX(task.guard, task.window),
        "subspace-rx": SubspaceRX(robust=task.robust),
    }
    return detectors[task.method]


def _threshold(scores: ScoreDistribution, task: Anomalies) -> float:
    return false_alarm_threshold(scores, task.false_alarm_rate)
