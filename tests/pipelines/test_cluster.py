"""Tasks whose blocks other processes compute write the bytes that one process writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from hsi_toolkit.blockwise.cluster import connect
from hsi_toolkit.detection import scan
from hsi_toolkit.errors import ClusterError, ParameterError
from hsi_toolkit.pipelines import run, unmix
from hsi_toolkit.scene import blocks
from hsi_toolkit.tasks import TASKS

from .conftest import SmallScene

TASKS_TRIED = [
    ("anomalies", {"method": method, "detections": "d.tif"} | more)
    for method, more in (
        ("auto", {}),
        ("rx", {}),
        ("rx", {"robust": True}),
        ("local-rx", {}),
        ("subspace-rx", {}),
    )
]
TASKS_TRIED += [
    ("target", {"method": method, "detections": "d.tif"}) for method in ("auto", "ace", "mf", "cem")
]
TASKS_TRIED += [
    ("unmix", {"endmembers": "3", "uncertainty": "d.tif", "error": "e.tif"}),
    ("unmix", {"endmembers": "3", "method": "ucls"}),
    ("unmix", {"endmembers": "LABELS", "method": "mesma"}),
    ("unmix", {"endmembers": "LABELS", "method": "sparse"}),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a scheduler with two processes."""
    with connect("local:2") as cluster:
        yield cluster._client.scheduler.address


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), TASKS_TRIED, ids=[f"{name}-{more.get('method')}" for name, more in TASKS_TRIED]
)
def test_two_processes_write_what_one_does(
    name: str,
    parameters: dict[str, object],
    small_scene: SmallScene,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (blocks, scan):
        monkeypatch.setattr(module, "rows_within", lambda *_, **__: 7)
    monkeypatch.setattr(unmix, "_rows", lambda *_: 7)
    written = []
    for cluster in (None, address):
        folder = tmp_path / ("far" if cluster else "here")
        folder.mkdir()
        values = {key: _placed(value, folder, small_scene) for key, value in parameters.items()}
        values |= {"scene": str(small_scene.scene), "output": str(folder / "o.tif"), "cluster": cluster}
        if name == "target":
            values |= {"target": str(small_scene.labels), "field": "cover", "value": "water"}
        if values.get("endmembers") == str(small_scene.labels):
            values["field"] = "cover"
        result = dict(run(TASKS[name].from_dict(values | {"device": "cpu"})))
        result.pop("outputs")
        written.append((result, {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}))
    assert written[0] == written[1]


def _placed(value: object, folder: Path, scene: SmallScene) -> object:
    if value == "LABELS":
        return str(scene.labels)
    return str(folder / value) if isinstance(value, str) and value.endswith(".tif") else value


@pytest.mark.parametrize("name", ["anomalies", "unmix"])
def test_a_method_of_one_process_refuses_a_cluster(
    name: str, small_scene: SmallScene, tmp_path: Path
) -> None:
    values = {"scene": str(small_scene.scene), "output": str(tmp_path / "o.tif"), "method": "hypersigma"}
    with pytest.raises(ParameterError, match="one process"):
        run(TASKS[name].from_dict(values | {"cluster": "local:2"}))
    assert not list(tmp_path.iterdir())


def test_without_dask_the_cluster_names_what_to_install(
    small_scene: SmallScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    values = {"scene": str(small_scene.scene), "output": str(tmp_path / "o.tif"), "cluster": "local:2"}
    with pytest.raises(ClusterError, match=r"hsi-toolkit\[dask\]"):
        run(TASKS["anomalies"].from_dict(values))
    assert not list(tmp_path.iterdir())
