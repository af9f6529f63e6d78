"""Fixtures for the tests that run inside QGIS's own Python.

Run by ``make test-qgis`` with the folder ``tests/qgis`` as the working directory, so that ``hsi_toolkit``
is the plugin, linked into a profile as a user's would be, and not the core library beside it.
"""

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "hsi_toolkit"


PROFILE = Path(tempfile.mkdtemp(prefix="hsi-profile-"))


def pytest_configure():
    """Link the plugin into a profile before any test module imports it."""
    plugins = PROFILE / "python" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / PLUGIN).symlink_to(ROOT, target_is_directory=True)
    sys.path.insert(0, str(plugins))


def pytest_unconfigure():
    """Remove the profile."""
    shutil.rmtree(PROFILE, ignore_errors=True)


@pytest.fixture(scope="session")
def profile():
    """A QGIS profile of its own, with the plugin linked into it."""
    return PROFILE


@pytest.fixture(scope="session")
def qgis_app(profile):
    """QGIS without a window, with Processing's own algorithms and settings of its own."""
    from qgis.core import QgsApplication
    from qgis.PyQt.QtCore import QCoreApplication, QSettings

    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(profile / "settings"))
    QCoreApplication.setOrganizationName("hsi_toolkit-tests")
    QCoreApplication.setApplicationName("hsi_toolkit-tests")
    application = QgsApplication([], True, str(profile))
    application.initQgis()
    sys.path.append(str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins"))
    from processing.core.Processing import Processing

    Processing.initialize()
    # QGIS is not ended: its destructor races with objects that Python still holds.
    return application


@pytest.fixture(scope="session")
def provider(qgis_app):
    """The plugin's Processing provider, registered."""
    plugin = importlib.import_module(PLUGIN).classFactory(None)
    plugin.initProcessing()
    yield plugin.provider
    plugin.unload()


@pytest.fixture(scope="session")
def processing(provider):
    """The module of the Python console, which is importable once QGIS runs."""
    return importlib.import_module("processing")


@pytest.fixture
def project(qgis_app):
    """The project, empty before and after."""
    from qgis.core import QgsProject

    QgsProject.instance().clear()
    yield QgsProject.instance()
    QgsProject.instance().clear()


@pytest.fixture(scope="session")
def engine_python():
    """The interpreter that has the core library: ``HSI_PYTHON``, or the clone's own environment."""
    python = Path(os.environ.get("HSI_PYTHON", ROOT / ".venv" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"needs the engine's environment; {python} is not there (make setup)")
    return python


@pytest.fixture(scope="session")
def shared():
    """The folder of golden data and real scenes; tests that need it skip where it is not."""
    folder = Path(os.environ.get("HSI_SHARED", ROOT / ".." / "shared")).resolve()
    if not (folder / "parity").is_dir():
        pytest.skip("needs the golden data and real scenes; set HSI_SHARED to their folder")
    return folder
