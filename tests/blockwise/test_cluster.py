"""Blocks computed by real processes are those of this one, and survive the death of a process."""

import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("distributed")

from hsi_toolkit import errors
from hsi_toolkit.blockwise.cluster import Cluster, connect, own_device, processes_for
from hsi_toolkit.blockwise.journal import BlockJournal, journal_path
from hsi_toolkit.errors import Cancelled, ClusterError, HsiError, ParameterError, SceneError
from hsi_toolkit.inference import classify
from hsi_toolkit.inference.classify import MapOutputs, MapResult, classify_scene
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from tests.blockwise.functions import end_yourself, squared
from tests.inference.conftest import small_classifier, small_scene

NAMES = ("{}.tif", "{}_p.tif", "{}_u.tif")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connect("local:2") as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: 4)
    values = small_scene(50, 23, smooth=True).to_numpy()
    values[:, 9:13, 5:9] = np.nan
    np.save(tmp_path / "scene.npy", values)
    return tmp_path


def mapped(folder: Path, name: str, mode: str = "exact", **options: object) -> MapResult:
    outputs = MapOutputs(*(folder / each.format(name) for each in NAMES))
    scene = open_scene(folder / "scene.npy", ":byx")
    return classify_scene(scene, small_classifier(), outputs, mode=mode, device="cpu", **options)  # type: ignore[arg-type]


def files(folder: Path, name: str) -> list[bytes]:
    return [(folder / each.format(name)).read_bytes() for each in NAMES]


@pytest.mark.slow
def test_results_come_in_order_from_several_processes(cluster: Cluster) -> None:
    assert cluster.processes == 2
    assert list(cluster.map(squared, range(30))) == [number * number for number in range(30)]
    assert len({*cluster.process_numbers(), os.getpid()}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_map_by_two_processes_is_that_of_one(folder: Path, cluster: Cluster, mode: str) -> None:
    here, there = mapped(folder, "here", mode), mapped(folder, "there", mode, cluster=cluster)
    assert files(folder, "here") == files(folder, "there")
    same = ("pixels", "without_data", "windows", "rechecked", "precision")
    assert all(getattr(here, name) == getattr(there, name) for name in same)


@pytest.mark.slow
def test_a_process_that_dies_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("needs SIGKILL")
    mapped(folder, "here")
    add, killed = BlockJournal.add, []
    with connect("local:2") as cluster:
        pids = cluster.process_numbers()

        def kill(self: BlockJournal, number: int, arrays: dict[str, np.ndarray]) -> None:
            add(self, number, arrays)
            if number in (2, 7):
                os.kill(pids[len(killed)], signal.SIGKILL)
                killed.append(number)

        monkeypatch.setattr(BlockJournal, "add", kill)
        mapped(folder, "there", cluster=cluster, journal=journal_path(folder / "there.tif"))
    assert killed == [2, 7]
    assert files(folder, "here") == files(folder, "there")


@pytest.mark.slow
def test_what_another_process_finished_is_gone_on_from(
    folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = BlockJournal.add

    def stop(self: BlockJournal, number: int, arrays: dict[str, np.ndarray]) -> None:
        add(self, number, arrays)
        if number == 5:
            raise KeyboardInterrupt

    journal = journal_path(folder / "map.tif")
    with monkeypatch.context() as patched:
        patched.setattr(BlockJournal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            mapped(folder, "map", cluster=cluster, journal=journal)
    assert mapped(folder, "map", journal=journal).resumed == 6
    mapped(folder, "whole")
    assert files(folder, "map") == files(folder, "whole")


@pytest.mark.slow
def test_an_error_of_a_process_is_told_as_it_is(folder: Path, cluster: Cluster) -> None:
    scene = open_scene(folder / "scene.npy", ":byx")
    (folder / "scene.npy").unlink()
    with pytest.raises(SceneError, match=r"scene\.npy"):
        classify_scene(scene, small_classifier(), MapOutputs(folder / "m.tif"), cluster=cluster, device="cpu")
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_cancelling_leaves_no_file(folder: Path, cluster: Cluster) -> None:
    class Impatient(Progress):
        asked = 0

        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 6

    with pytest.raises(Cancelled):
        mapped(folder, "map", cluster=cluster, progress=Impatient())
    assert [path.name for path in folder.iterdir()] == ["scene.npy"]
    assert list(cluster.map(squared, range(3))) == [0, 1, 4]


@pytest.mark.slow
def test_a_block_that_ends_every_process_is_given_up() -> None:
    with connect("local:2") as cluster, pytest.raises(ClusterError, match="ended every process"):
        list(cluster.map(end_yourself, [0]))


@pytest.mark.parametrize("name", ["remote", "local:0", "local:x", "http://here"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="no cluster"), connect(name):
        pass


def test_an_address_where_nobody_answers_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsi_toolkit.blockwise.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9"), connect("tcp://127.0.0.1:9"):
        pass


@pytest.mark.parametrize("kind", HsiError.__subclasses__())
def test_errors_reach_another_process_as_they_are(kind: type[HsiError]) -> None:
    error = pickle.loads(pickle.dumps(kind("What is wrong.", "What to do.")))  # noqa: S301  made here
    assert type(error) is kind
    assert (error.problem, error.remedy, str(error)) == (
        "What is wrong.",
        "What to do.",
        "What is wrong. What to do.",
    )
    assert hasattr(errors, kind.__name__)


@pytest.mark.parametrize(("name", "expected"), [(0, "cuda:0"), (4, "cuda:1"), ("a-machine", "cuda:0")])
def test_processes_of_a_machine_take_a_device_each(
    name: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name=name))
    assert str(own_device("cuda")) == expected
    assert str(own_device("cuda:2")) == "cuda:2"
    assert str(own_device("cpu")) == "cpu"


@pytest.mark.parametrize(
    ("cluster", "device", "devices", "expected"),
    [
        (None, "cuda", 4, "local:4"),
        (None, "cuda", 1, None),
        (None, "cpu", 4, None),
        (None, "auto", 4, None),
        ("local:2", "cuda", 4, "local:2"),
    ],
)
def test_several_devices_are_used_by_a_process_each(
    cluster: str | None, device: str, devices: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    @contextmanager
    def noted(name: str) -> Iterator[None]:
        asked.append(name)
        yield

    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.setattr("hsi_toolkit.blockwise.cluster.connect", noted)
    with processes_for(cluster, device):
        pass
    assert asked == ([] if expected is None else [expected])
