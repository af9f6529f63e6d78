"""Map a model's classes over many scenes."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from hsi_toolkit.blockwise.cluster import Cluster, processes_for
from hsi_toolkit.errors import OutputError, ParameterError
from hsi_toolkit.failures import Failure, failure_of
from hsi_toolkit.pipelines import classify
from hsi_toolkit.pipelines.models import open_classifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.classify import Classify
from hsi_toolkit.tasks.classify_scenes import ClassifyScenes

BLOCKS_A_SCENE = 4
"""Processes of a cluster that one scene keeps busy: with more of them, several scenes are worked on."""

MOST_SCENES = 8
"""Scenes at a time, which bounds what this process holds of their maps."""


@dataclass(frozen=True)
class _Scene:
    """What became of a scene; a failure, or pixels of each class unless its map was there."""

    path: str
    map: str
    pixels: Mapping[str, int] | None = None
    failure: Failure | None = None


def run(task: ClassifyScenes, progress: Progress) -> Mapping[str, object]:
    """Classify the scenes that have no map yet."""
    scenes = _listed(task.scenes)
    folder = Path(task.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Choose another."
        ) from error
    # A model that cannot be used would fail for every scene.
    open_classifier(task.model)
    tasks = {
        path: _classify_task(task, path, folder, name)
        for path, name in zip(scenes, _names(scenes), strict=True)
    }
    for path, each in tasks.items():
        if Path(path).exists() and Path(each.output).exists() and Path(path).samefile(each.output):
            raise OutputError(f"The map of {path} would have its name.", "Choose another folder.")
    with processes_for(task.cluster, task.device) as cluster:
        found = list(_all(tasks, cluster, progress))
    order = {path: number for number, path in enumerate(scenes)}
    return _result(task, sorted(found, key=lambda scene: order[scene.path]))


def _all(tasks: Mapping[str, Classify], cluster: Cluster | None, progress: Progress) -> Iterator[_Scene]:
    """What became of each scene, as they are done."""
    together = 1 if cluster is None else min(MOST_SCENES, 1 + cluster.processes // BLOCKS_A_SCENE)
    if together == 1:
        for number, (path, task) in enumerate(tasks.items()):
            part = progress.part(number / len(tasks), (number + 1) / len(tasks))
            yield _one(path, task, cluster, _Named(part, Path(path).name))
        return
    lock = threading.Lock()
    with ThreadPoolExecutor(together, thread_name_prefix="hsi-scene") as pool:
        work = [
            pool.submit(_one, path, task, cluster, _Aside(progress, Path(path).name, lock))
            for path, task in tasks.items()
        ]
        try:
            for number, done in enumerate(as_completed(work), start=1):
                yield done.result()
                with lock:
                    progress.report(number / len(work), f"{number} of {len(work)} scenes")
        finally:
            pool.shutdown(cancel_futures=True)


def _one(path: str, task: Classify, cluster: Cluster | None, progress: Progress) -> _Scene:
    """Classify a scene; only a cancel and a lost cluster concern the others."""
    if Path(task.output).exists() and not task.overwrite:
        return _Scene(path, task.output)
    progress.check()
    # What an earlier run left without its map belongs to no map.
    task = Classify.from_dict(task.to_dict() | {"overwrite": True})
    try:
        result = classify.run(task, progress, cluster=cluster)
    except Exception as error:
        failure = failure_of(error)
        if failure.kind == "cancelled" or (cluster is not None and not cluster.reachable):
            raise
        progress.log(failure.message)
        return _Scene(path, task.output, failure=failure)
    pixels = result["pixels"]
    return _Scene(path, task.output, pixels=pixels if isinstance(pixels, Mapping) else {})


def _result(task: ClassifyScenes, scenes: list[_Scene]) -> Mapping[str, object]:
    failed = [scene for scene in scenes if scene.failure is not None]
    mapped = sum(scene.pixels is not None for scene in scenes)
    there = len(scenes) - len(failed) - mapped
    summary = f"Mapped {mapped} of {len(scenes)} scenes"
    summary += f"; {there} had their map" if there else ""
    summary += f"; {len(failed)} FAILED" if failed else ""
    messages = {scene.path: scene.failure.message for scene in failed if scene.failure is not None}
    return {
        "summary": f"{summary}.",
        "outputs": {"maps": task.output},
        "warnings": [f"{path}: {message}" for path, message in messages.items()],
        "failures": messages,
        "scenes": [
            {
                "scene": scene.path,
                "map": None if scene.failure else scene.map,
                "pixels": None if scene.pixels is None else dict(scene.pixels),
            }
            for scene in scenes
        ],
        "mapped": mapped,
        "failed": len(failed),
    }


def _classify_task(task: ClassifyScenes, scene: str, folder: Path, name: str) -> Classify:
    shared = ("model", "mode", "variable", "device", "memory_limit", "overwrite")
    return Classify(
        scene=scene,
        output=str(folder / f"{name}.tif"),
        probabilities=str(folder / f"{name}_probabilities.tif") if task.probabilities else None,
        uncertainty=str(folder / f"{name}_uncertainty.tif") if task.uncertainty else None,
        **{each: getattr(task, each) for each in shared},
    )


def _listed(scenes: tuple[str, ...]) -> list[str]:
    """The scenes, those of lists among them, each once.

    Raises:
        ParameterError: a list cannot be read, or there is no scene.
    """
    found: list[str] = []
    for each in scenes:
        if not each.lower().endswith(".txt"):
            found.append(each)
            continue
        try:
            lines = Path(each).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"The list {each} cannot be read: {error}.", "Give a text file.") from error
        found += [line.strip() for line in lines if line.strip()]
    if not found:
        raise ParameterError("The lists name no scene.", "Write one path a line.")
    return list(dict.fromkeys(found))


def _names(scenes: list[str]) -> list[str]:
    """A name for each scene's map: that of the scene, with its folder's before it where two are alike.

    Raises:
        ParameterError: even then two are alike.
    """
    plain = [Path(path).stem for path in scenes]
    count = Counter(plain)
    names = [
        f"{Path(path).absolute().parent.name}_{name}" if count[name] > 1 else name
        for path, name in zip(scenes, plain, strict=True)
    ]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        alike = [path for path, name in zip(scenes, names, strict=True) if name == twice[0]]
        raise ParameterError(
            f"The maps of {alike[0]} and {alike[1]} would have the same name.",
            "Classify them into different folders.",
        )
    return names


class _Named(Progress):
    """The progress of one scene among others, whose name it adds."""

    def __init__(self, whole: Progress, name: str) -> None:
        self._whole, self._name = whole, name

    def report(self, fraction: float, message: str = "") -> None:
        self._whole.report(fraction, f"{self._name}: {message}" if message else "")

    def log(self, message: str) -> None:
        self._whole.log(f"{self._name}: {message}")

    def cancelled(self) -> bool:
        return self._whole.cancelled()


class _Aside(_Named):
    """The same from a thread beside others: how far a single scene is says little then."""

    def __init__(self, whole: Progress, name: str, lock: threading.Lock) -> None:
        super().__init__(whole, name)
        self._lock = lock

    def report(self, fraction: float, message: str = "") -> None:
        pass

    def log(self, message: str) -> None:
        with self._lock:
            super().log(message)
