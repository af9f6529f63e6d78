"""Linking a clone into QGIS profiles."""

from pathlib import Path

import pytest

from tests.test_plugin_zip import ROOT, load_tool

install_plugin = load_tool("install_plugin")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where QGIS keeps its profiles: of a user of Linux who has started no QGIS yet."""
    monkeypatch.setattr(install_plugin.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path / "share" / "QGIS"


def test_the_clone_is_linked_into_the_default_profile_of_each_qgis(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for generation in ("QGIS3", "QGIS4"):
        (home / generation / "profiles" / "default").mkdir(parents=True)
    assert install_plugin.main([]) == 0
    for generation in ("QGIS3", "QGIS4"):
        link = home / generation / "profiles" / "default" / "python" / "plugins" / "hsi_toolkit"
        assert link.is_symlink()
        assert (link / "metadata.txt").samefile(ROOT / "metadata.txt")
    assert "tick hsi_toolkit" in capsys.readouterr().out


def test_linking_again_changes_nothing(home: Path) -> None:
    (home / "QGIS3" / "profiles" / "default").mkdir(parents=True)
    assert install_plugin.main([]) == 0
    assert install_plugin.main([]) == 0


def test_a_profile_is_found_by_name_and_by_folder(home: Path, tmp_path: Path) -> None:
    (home / "QGIS3" / "profiles" / "fieldwork").mkdir(parents=True)
    elsewhere = tmp_path / "a profile"
    elsewhere.mkdir()
    assert install_plugin.find_profiles("fieldwork") == [home / "QGIS3" / "profiles" / "fieldwork"]
    assert install_plugin.find_profiles(str(elsewhere)) == [elsewhere]


def test_without_a_profile_it_says_where_it_looked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install_plugin.main([]) == 1
    said = capsys.readouterr().err
    assert str(home / "QGIS3" / "profiles" / "default") in said
    assert "Start QGIS once" in said


def test_an_installed_plugin_is_never_overwritten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = home / "QGIS3" / "profiles" / "default" / "python" / "plugins" / "hsi_toolkit"
    plugin.mkdir(parents=True)
    (plugin / "mine.txt").write_text("mine")
    assert install_plugin.main([]) == 1
    assert (plugin / "mine.txt").read_text() == "mine"
    assert "Uninstall the plugin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [("win32", "APPDATA", "QGIS/QGIS3/profiles"), ("linux", "XDG_DATA_HOME", "QGIS/QGIS3/profiles")],
)
def test_profiles_are_where_the_platform_has_them(
    platform: str, variable: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_plugin.sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert tmp_path / folder in install_plugin.profiles_folders()
