"""Every golden case there is agrees, and none goes unnoticed."""

import json
from pathlib import Path

import pytest

from .discovery import Case, find_cases, parity_folder, run_case, systems_with_runners


def golden_cases() -> list[Case]:
    folder = parity_folder()
    return [] if folder is None else find_cases(folder, systems_with_runners())


@pytest.mark.skipif(not golden_cases(), reason="needs the golden data; set HSI_SHARED to their folder")
@pytest.mark.parametrize("case", golden_cases(), ids=str)
def test_golden_case(case: Case) -> None:
    run_case(case)


def test_a_file_dropped_into_the_folder_is_found_and_an_unknown_kind_fails(tmp_path: Path) -> None:
    folder = tmp_path / "hsimae"
    folder.mkdir()
    (folder / "novel.json").write_text(json.dumps({"cls": "HSIMamba", "config": {}}))
    cases = find_cases(tmp_path, ["hsimae", "system_without_files"])
    assert [str(case) for case in cases] == ["hsimae/novel"]
    with pytest.raises(pytest.fail.Exception, match=r"no runner for hsimae/novel \(HSIMamba\)"):
        run_case(cases[0])


def test_hsimae_has_a_runner() -> None:
    assert "hsimae" in systems_with_runners()
