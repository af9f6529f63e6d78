"""Tasks whose blocks other processes compute write the bytes that one process writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("distributed")

from hsi_toolkit.blockwise.cluster import connect
from hsi_toolkit.change.pair import ScenePair
from hsi_toolkit.denoising import parts
from hsi_toolkit.detection import scan
from hsi_toolkit.errors import ClusterError, ParameterError
from hsi_toolkit.pipelines import run, unmix
from hsi_toolkit.scene import RasterWriter, blocks, open_scene
from hsi_toolkit.tasks import TASKS

from .conftest import BANDS, COVERS, SmallScene, write_scene

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
TASKS_TRIED += [
    ("change", {"method": method, "map": "m.tif", "types": "t.tif"})
    for method in ("auto", "irmad", "chronochrome", "cva", "sam")
]
TASKS_TRIED += [
    ("denoise", {"method": method, "difference": "d.tif", "noise_table": "t.csv"})
    for method in ("auto", "subspace", "robust", "destripe", "mnf")
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
    monkeypatch.setattr(ScenePair, "_rows_within", lambda *_: 7)
    for name_of in ("_FEWEST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(parts, name_of, 32)
    monkeypatch.setattr(parts, "_SURVEY_BYTES", 4 * BANDS * 60 * 11)
    source = tall(small_scene, tmp_path) if name == "denoise" else small_scene.scene
    written = []
    for cluster in (None, address):
        folder = tmp_path / ("far" if cluster else "here")
        folder.mkdir()
        values = {key: _placed(value, folder, small_scene) for key, value in parameters.items()}
        values |= {"output": str(folder / "o.tif"), "cluster": cluster}
        if name == "change":
            values |= {"before": str(small_scene.scene), "after": str(later(small_scene, tmp_path))}
        else:
            values |= {"scene": str(source)}
        if name == "target":
            values |= {"target": str(small_scene.labels), "field": "cover", "value": "water"}
        if values.get("endmembers") == str(small_scene.labels):
            values["field"] = "cover"
        result = dict(run(TASKS[name].from_dict(values | {"device": "cpu"})))
        result.pop("outputs")
        written.append((result, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}))
    assert written[0] == written[1]


def later(scene: SmallScene, folder: Path) -> Path:
    """The scene at another date, with another cover on 30 x 20 pixels."""
    truth, path = scene.truth.copy(), folder / "later.tif"
    truth[10:40, 5:25] = truth[10:40, 5:25] % len(COVERS) + 1
    if not path.exists():
        write_scene(path, np.linspace(420, 1600, BANDS), truth, seed=1)
    return path


def tall(scene: SmallScene, folder: Path) -> Path:
    """The scene seven times below itself, with rows without data and a stripe."""
    cube = np.tile(open_scene(scene.scene).to_numpy(), (1, 7, 1))
    cube[:, 200:250] = np.nan
    cube[7, :, 20] += 0.1
    grid = xr.DataArray(np.zeros(cube.shape[1:]), dims=("y", "x"))
    with RasterWriter(folder / "tall.tif", like=grid, count=len(cube)) as writer:
        writer.write(cube, 0)
    return folder / "tall.tif"


def _placed(value: object, folder: Path, scene: SmallScene) -> object:
    if value == "LABELS":
        return str(scene.labels)
    return str(folder / value) if isinstance(value, str) and value.endswith((".tif", ".csv")) else value


@pytest.mark.parametrize("name", ["anomalies", "unmix", "change", "denoise"])
def test_a_method_of_one_process_refuses_a_cluster(
    name: str, small_scene: SmallScene, tmp_path: Path
) -> None:
    values = {"output": str(tmp_path / "o.tif"), "method": "hypersigma"}
    scenes = ("before", "after") if name == "change" else ("scene",)
    values |= dict.fromkeys(scenes, str(small_scene.scene))
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
