"""The engine's own check: complete, honest about what fails, and fit to be pasted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hsi_toolkit import __version__
from hsi_toolkit.errors import OutputError
from hsi_toolkit.pipelines import doctor, run
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.doctor import Doctor


@pytest.fixture
def healthy() -> dict[str, object]:
    return dict(run(Doctor()))


def test_a_healthy_engine_has_no_failure(healthy: dict[str, object]) -> None:
    assert (healthy["failed"], healthy["warnings"]) == (0, [])
    json.dumps(healthy, allow_nan=False)


def test_the_report_names_what_takes_part(healthy: dict[str, object]) -> None:
    report = str(healthy["report"])
    for part in (
        __version__,
        np.__version__,
        torch.__version__,
        "GDAL",
        "PROJ",
        "Temporary folder",
        "compiled",
    ):
        assert part in report


def test_a_part_that_fails_is_a_warning_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise OSError("PROJ: proj.db is\nfrom another installation")

    monkeypatch.setitem(doctor._LOOKS, "Coordinates", broken)
    result = run(Doctor())
    problem = "OSError: PROJ: proj.db is from another installation"
    assert result["warnings"] == [f"Coordinates failed: {problem}."]
    assert result["facts"]["Coordinates"] == f"FAILED ({problem})"  # type: ignore[index]
    assert result["facts"]["Raster"] == "written and read"  # type: ignore[index]


def test_the_report_names_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home of jdoe"
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setenv("USER", "jdoe")
    monkeypatch.setenv("HSI_MODELS", str(home / "models"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/data/jdoe/lib")
    report = str(run(Doctor())["report"])
    assert "jdoe" not in report
    assert "HSI_MODELS=~/models" in report


def test_a_model_folder_that_cannot_be_written_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "taken"
    file.touch()
    monkeypatch.setenv("HSI_MODELS", str(file / "models"))
    assert "FAILED" in run(Doctor())["facts"]["Model folder"]  # type: ignore[index]


def test_the_report_is_written_where_asked(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    result = run(Doctor(output=str(target)))
    assert target.read_text(encoding="utf-8") == result["report"]
    with pytest.raises(OutputError, match="exists already"):
        run(Doctor(output=str(target)))


def test_progress_names_each_part() -> None:
    said: list[str] = []

    class Listening(Progress):
        def report(self, fraction: float, message: str = "") -> None:
            said.append(message)

    run(Doctor(), Listening())
    assert said == [f"Checking: {label}" for label in doctor._LOOKS]
