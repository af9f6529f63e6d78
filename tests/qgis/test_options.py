"""The options page, and the check of the engine."""

import time
from pathlib import Path

import pytest


@pytest.fixture
def options(qgis_app, monkeypatch, tmp_path):
    """The module, with settings and a profile of its own and no engine."""
    from hsi_toolkit.qgis_plugin import creation_section, environment, options
    from hsi_toolkit.qgis_plugin.settings import Settings

    monkeypatch.delenv("HSI_PYTHON", raising=False)
    monkeypatch.setattr(environment, "profile_folder", lambda: tmp_path / "profile")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(creation_section, "base_interpreters", lambda feedback: [])
    before = Settings.load()
    Settings().save()
    yield options
    before.save()


@pytest.fixture
def page(options):
    shown = options.OptionsFactory().createWidget(None)
    settle(lambda: shown.creation.base.currentText() == "")
    return shown


def settle(condition, seconds=20.0):
    """Let QGIS work until the condition holds."""
    from qgis.PyQt.QtCore import QCoreApplication, QEventLoop

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)


def settings():
    from hsi_toolkit.qgis_plugin.settings import Settings

    return Settings


def test_the_page_shows_and_stores_every_setting(options):
    chosen = settings()(
        interpreter="/a/python",
        device="cpu",
        memory_limit=4096,
        model_folder="/models",
        idle_minutes=3,
        package_index="https://one.example.org",
        torch_index="https://two.example.org",
        wheel_folder="/wheels",
    )
    chosen.save()
    assert settings().load() == chosen
    shown = options.OptionsPage()
    assert shown.values() == chosen
    shown.running.device.setCurrentIndex(shown.running.device.findData("cuda"))
    shown.running.memory.setValue(0)
    shown.apply()
    assert settings().load().device == "cuda"
    assert settings().load().memory_limit == 0


def test_a_memory_limit_below_the_engines_least_is_raised_to_it(page):
    page.running.memory.setValue(10)
    assert page.values().memory_limit == 256


def test_sources_are_folded_away_unless_they_are_set(page, options):
    assert page.creation.sources.isCollapsed()
    settings()(wheel_folder="/wheels").save()
    assert not options.OptionsPage().creation.sources.isCollapsed()


def test_without_an_engine_the_page_says_so(page):
    assert page.engine.status.kind == "warning"
    assert "not set up" in page.engine.status.text()
    page.engine.check()
    assert "not set up" in page.engine.status.text()


def test_without_a_python_nothing_can_be_created(page):
    assert not page.creation.button.isEnabled()
    assert "apt install" in page.creation.status.text()


def test_the_check_runs_beside_the_gui(page, engine_python, monkeypatch):
    from hsi_toolkit.qgis_plugin import environment

    monkeypatch.setattr(environment, "_LIBRARIES", ("torch",))
    page.engine.interpreter.setFilePath(str(engine_python))
    assert page.engine.status.kind == "info"
    page.engine.check()
    assert not page.engine.button.isEnabled()
    settle(page.engine.button.isEnabled, 120)
    assert page.engine.status.kind == "success"
    assert "PyTorch" in page.engine.status.text()


def test_a_check_that_fails_says_what_is_wrong(page):
    page.engine.interpreter.setFilePath("/usr/bin/python3")
    page.engine.check()
    settle(page.engine.button.isEnabled)
    assert page.engine.status.kind == "warning"
    assert "has no hsi_toolkit" in page.engine.status.text()


@pytest.fixture
def creation(page, monkeypatch):
    """The page's section with a Python to make environments with."""
    from hsi_toolkit.qgis_plugin.base_pythons import Base

    page.creation._show_pythons([Base(Path("/usr/bin/python3"), (3, 11, 2), True)], None)
    return page.creation


def creating(monkeypatch, make):
    """Let ``make(base, build, settings, feedback)`` create environments."""
    from hsi_toolkit.qgis_plugin import creation_section

    monkeypatch.setattr(creation_section, "create", make)


def wait_for_cancel(base, build, chosen, feedback):
    from hsi_toolkit.qgis_plugin.installation import InstallationCancelled

    feedback.setProgress(40)
    feedback.setProgressText("Fetching torch")
    while not feedback.isCanceled():
        time.sleep(0.01)
    raise InstallationCancelled("Cancelled.")


def test_creating_uses_what_the_page_shows(creation, page, monkeypatch):
    seen = []
    interpreter = Path("/made/python")

    def make(base, build, chosen, feedback):
        seen.append((base, build, chosen.package_index))
        return interpreter

    creating(monkeypatch, make)
    settings()(interpreter="/former/python").save()
    page.engine.interpreter.setFilePath("/former/python")
    creation.cuda.setChecked(True)
    creation.sources.package_index.setText(" https://one.example.org ")
    creation.start()
    settle(creation.button.isEnabled)
    assert seen == [(Path("/usr/bin/python3"), "cuda", "https://one.example.org")]
    assert settings().load().interpreter == ""
    assert page.engine.interpreter.filePath() == ""


def test_a_failure_is_shown_in_its_own_words(creation, monkeypatch):
    from hsi_toolkit.qgis_plugin.installation import InstallationError

    def make(base, build, chosen, feedback):
        raise InstallationError("The disk is full. Free some space.")

    creating(monkeypatch, make)
    creation.start()
    settle(creation.button.isEnabled)
    assert creation.status.kind == "warning"
    assert creation.status.text() == "The disk is full. Free some space."


def test_progress_shows_and_cancelling_ends_it(creation, monkeypatch):
    creating(monkeypatch, wait_for_cancel)
    creation.start()
    assert not creation.button.isEnabled()
    settle(lambda: creation.progress.value() == 40)
    assert "Fetching torch" in creation.status.text()
    creation.cancel.click()
    settle(creation.button.isEnabled)
    assert "Everything is as it was" in creation.status.text()


def test_a_page_opened_meanwhile_shows_the_running_creation(creation, options, monkeypatch):
    from hsi_toolkit.qgis_plugin.background import cancel_all

    creating(monkeypatch, wait_for_cancel)
    creation.start()
    settle(lambda: creation.progress.value() == 40)
    other = options.OptionsPage()
    settle(lambda: other.creation.base.count() == 0)
    assert other.creation.progress.value() == 40
    assert not other.creation.button.isEnabled()
    cancel_all()
    settle(lambda: "Everything is as it was" in other.creation.status.text())


@pytest.mark.parametrize(
    ("build", "named", "platform", "expected"),
    [
        ("cpu", False, "linux", "computes on the CPU too"),
        ("cpu", True, "linux", "About 2 GB"),
        ("cuda", False, "linux", "5.5 GB"),
        ("cuda", False, "win32", "Give a PyTorch index"),
        ("cuda", True, "win32", "5.5 GB"),
        ("cpu", False, "win32", "About 2 GB"),
    ],
)
def test_the_hint_says_what_a_build_means(qgis_app, build, named, platform, expected):
    from hsi_toolkit.qgis_plugin.creation_section import build_hint

    assert expected in build_hint(build, named, platform)


# The offer at the start.


class Iface:
    """Stands in for QGIS's window."""

    def __init__(self):
        from qgis.gui import QgsMessageBar

        self.bar, self.opened = QgsMessageBar(), []

    def messageBar(self):
        return self.bar

    def mainWindow(self):
        return None

    def showOptionsDialog(self, parent, page):
        self.opened.append(page)


def test_the_set_up_is_offered_once_and_leads_to_the_page(options):
    from qgis.PyQt.QtWidgets import QPushButton

    iface = Iface()
    options.offer_setup(iface)
    (message,) = iface.bar.items()
    assert "not set up" in message.text()
    message.findChild(QPushButton).click()
    assert iface.opened == [options.OptionsPage().objectName()]


def test_nothing_is_offered_to_who_has_an_engine(options, engine_python, monkeypatch):
    monkeypatch.setenv("HSI_PYTHON", str(engine_python))
    iface = Iface()
    options.offer_setup(iface)
    assert iface.bar.items() == []


# The check of the engine.


def checked(output):
    from qgis.core import QgsProcessingContext

    from hsi_toolkit.processing_algorithms.check_engine import CheckEngine
    from hsi_toolkit.qgis_plugin.background import StageFeedback

    algorithm = CheckEngine()
    algorithm.initAlgorithm()
    assert algorithm.canExecute() == (True, "")
    feedback = StageFeedback()
    results, fine = algorithm.run({"OUTPUT": str(output)}, QgsProcessingContext(), feedback)
    assert fine
    return results, feedback


def test_the_report_is_written_without_an_engine(options, tmp_path):
    address = "https://{}@one.example.org/simple"
    settings()(package_index=address.format("me:key")).save()
    results, feedback = checked(tmp_path / "report.txt")
    text = (tmp_path / "report.txt").read_text("utf-8")
    assert text == results["REPORT"]
    assert "The engine is not set up yet" in text
    assert "QGIS:" in text
    assert "package index https://one.example.org/simple" in text
    assert "me:key" not in text
    assert results["FAILED"] == 1
    assert "not set up" in feedback.warning


@pytest.mark.slow
def test_the_report_holds_what_the_engine_says_of_itself(options, engine_python, monkeypatch, tmp_path):
    from hsi_toolkit.qgis_plugin import client

    monkeypatch.setenv("HSI_PYTHON", str(engine_python))
    results, _ = checked(tmp_path / "report.html")
    client.stop()
    assert results["FAILED"] == 0
    assert "GDAL" in results["REPORT"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "GDAL" in page


def test_a_report_names_neither_home_nor_user(qgis_app, monkeypatch):
    from hsi_toolkit.processing_algorithms.check_engine import nameless

    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    monkeypatch.setenv("USERNAME", "ada")
    assert nameless("/home/ada/x /home/adam /data/ada/y") == "~/x /home/adam /data/<user>/y"


def test_a_report_that_cannot_be_written_is_one_sentence(options, tmp_path):
    from qgis.core import QgsProcessingException

    from hsi_toolkit.processing_algorithms import check_engine

    with pytest.raises(QgsProcessingException, match="cannot be written"):
        check_engine._write(str(tmp_path / "none" / "report.txt"), "")
