"""The command line itself: help, results, errors and cancellation."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hsi_toolkit import cli
from hsi_toolkit.errors import Cancelled, ModelError
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import TASKS

Result = Mapping[str, object]


def execute(
    work: object, capsys: pytest.CaptureFixture[str], *, as_json: bool = False
) -> tuple[int, str, str]:
    code = 0
    try:
        cli.execute(work, progress="none", as_json=as_json)  # type: ignore[arg-type]
    except cli.typer.Exit as stop:
        code = stop.exit_code
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_is_an_option_with_its_help(name: str) -> None:
    shown = CliRunner().invoke(cli.app, [*TASKS[name].command().split(), "--help"]).output
    for parameter in TASKS[name].parameters():
        spelt = parameter.name.upper() if parameter.positional else "--" + parameter.name.replace("_", "-")
        assert spelt in shown


def test_a_result_is_text_for_people_and_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"summary": "Done.", "facts": {"Bands": 3}, "outputs": {"map": "m.tif"}, "warnings": ["Mind."]}
    assert execute(lambda _: result, capsys) == (0, "Done.\nBands: 3\nmap: m.tif\nNote: Mind.\n", "")
    assert json.loads(execute(lambda _: result, capsys, as_json=True)[1]) == result


def test_an_error_of_the_user_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Progress) -> Result:
        raise ModelError("The model is\ndamaged.", "Copy it again.")

    assert execute(work, capsys) == (2, "", "Error: The model is damaged. Copy it again.\n")


def test_cancelling_is_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Progress) -> Result:
        raise Cancelled

    assert execute(work, capsys) == (130, "", "Error: Cancelled.\n")


def test_a_defect_is_one_line_that_names_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Progress) -> Result:
        raise KeyError("lost")

    code, out, error = execute(work, capsys)
    assert (code, out) == (1, "")
    assert len(error.splitlines()) == 1
    named = re.search(r"(\S+\.log)\.", error)
    assert named is not None
    log = Path(named[1])
    assert "Traceback" in log.read_text(encoding="utf-8")
    log.unlink()


def test_a_signal_cancels_at_the_next_check(capsys: pytest.CaptureFixture[str]) -> None:
    def work(progress: Progress) -> Result:
        os.kill(os.getpid(), signal.SIGINT)
        progress.check()
        return {}

    assert execute(work, capsys) == (130, "", "Error: Cancelled.\n")


@pytest.mark.slow
def test_the_command_cancelled_from_outside_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hsi_toolkit.cli", "demo", "-o", str(tmp_path), "--progress", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Epoch" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait() == 130
    assert rest.splitlines()[-1] == "Error: Cancelled."
    written = {path.name for path in tmp_path.iterdir()}
    assert not written & {"model.safetensors", "map.tif", "report.html", "preview.png"}


def test_json_progress_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def work(progress: Progress) -> Result:
        progress.part(0.5, 1.0).report(0.5, "Halfway through the rest")
        progress.log("Noted")
        return {}

    cli.execute(work, progress="json", as_json=False)
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert events == [
        {"event": "progress", "fraction": 0.75, "message": "Halfway through the rest"},
        {"event": "log", "message": "Noted"},
    ]


def test_the_zoo_lists_all_four_systems() -> None:
    shown = CliRunner().invoke(cli.app, ["models", "list"]).output
    for system in ("HSIMAE", "HyperSIGMA", "BiMAE"):
        assert system in shown
    assert "cae" in shown.lower()
