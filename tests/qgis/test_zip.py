"""The built zip, installed as the plugin manager installs it: unpacked into a profile's plugins folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Run in a Python of its own, for the one of the tests has the clone loaded under the same name.
LOAD = """
import json, sys, time
from pathlib import Path
profile = Path(sys.argv[1])
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QSettings
QSettings.setDefaultFormat(QSettings.Format.IniFormat)
QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(profile / "settings"))
QCoreApplication.setOrganizationName("hsi_toolkit-tests")
QCoreApplication.setApplicationName("hsi_toolkit-tests")
application = QgsApplication([], False, str(profile))
application.initQgis()
sys.path.append(str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins"))
from processing.core.Processing import Processing
Processing.initialize()
sys.path.insert(0, str(profile / "python" / "plugins"))
before, start = set(sys.modules), time.perf_counter()
import hsi_toolkit
plugin = hsi_toolkit.classFactory(None)
plugin.initProcessing()
seconds = time.perf_counter() - start
provider = QgsApplication.processingRegistry().providerById("hsi")
algorithms = {each.id(): each.shortHelpString() for each in provider.algorithms()}
from hsi_toolkit.qgis_plugin import installation
found = {
    "file": hsi_toolkit.__file__,
    "version": provider.versionInfo(),
    "icon": provider.icon().isNull(),
    "algorithms": sorted(algorithms),
    "without help": sorted(name for name, text in algorithms.items() if not text.strip()),
    "core": installation.WHEELS.is_dir() and [path.name for path in installation.WHEELS.iterdir()],
    "heavy": sorted({"numpy", "torch", "rasterio", "subprocess"} & (set(sys.modules) - before)),
    "seconds": seconds,
}
plugin.unload()
found["left"] = QgsApplication.processingRegistry().providerById("hsi") is not None
print(json.dumps(found))
sys.stdout.flush()
# Ending QGIS races with objects that Python still holds.
__import__("os")._exit(0)
"""


@pytest.fixture(scope="module")
def zipped(engine_python, tmp_path_factory):
    """The zip, built by the engine's Python, which has what building takes."""
    folder = tmp_path_factory.mktemp("dist")
    command = [str(engine_python), "-I", str(ROOT / "tools" / "build_plugin.py"), "--output", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (path,) = folder.glob("*.zip")
    return path


@pytest.fixture(scope="module")
def loaded(zipped, tmp_path_factory):
    """What QGIS says of the plugin after it was unpacked into a profile, in a folder with a space."""
    profile = tmp_path_factory.mktemp("a profile of its own")
    plugins = profile / "python" / "plugins"
    plugins.mkdir(parents=True)
    with zipfile.ZipFile(str(zipped)) as archive:
        archive.extractall(str(plugins))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HSI_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(profile)],
        capture_output=True,
        text=True,
        check=False,
        cwd=str(profile),
        env={**environment, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.stdout.strip(), done.stderr
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "profile": str(profile)}


def test_the_unpacked_zip_is_a_plugin_with_all_algorithms(loaded):
    assert loaded["file"].startswith(loaded["profile"])
    assert loaded["algorithms"]
    declared = {path.stem for path in (ROOT / "processing_algorithms").glob("*.py")} - {"__init__"}
    assert len(loaded["algorithms"]) >= len(declared) - 1
    assert {"hsi:map", "hsi:train", "hsi:classify"} <= set(loaded["algorithms"])
    assert loaded["without help"] == []
    assert loaded["icon"] is False


def test_the_version_is_that_of_the_zip(loaded, zipped):
    assert zipped.name == "hsi_toolkit-{}.zip".format(loaded["version"])


def test_the_engine_would_be_installed_from_the_wheel_in_the_zip(loaded):
    assert loaded["core"] == ["hsi_toolkit-{}-py3-none-any.whl".format(loaded["version"])]


def test_loading_it_imports_nothing_heavy(loaded):
    assert loaded["heavy"] == []


def test_unloading_leaves_no_provider(loaded):
    assert loaded["left"] is False


@pytest.mark.slow
def test_the_wheel_is_the_core(zipped, engine_python, tmp_path):
    """Unpacked by itself it runs a task: nothing of it, a template say, was left out."""
    with zipfile.ZipFile(str(zipped)) as archive:
        (wheel,) = [name for name in archive.namelist() if name.endswith(".whl")]
        path = archive.extract(wheel, str(tmp_path))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(str(tmp_path / "core"))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hsi_toolkit; print(hsi_toolkit.__file__); "
        "from hsi_toolkit.reports.pages import page_template; page_template('card.html.j2'); "
        "from hsi_toolkit.models import zoo; print(len(zoo.list_models()))"
    )
    done = subprocess.run(
        [str(engine_python), "-I", "-c", code, str(tmp_path / "core")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout
    place, models = done.stdout.split()
    assert place.startswith(str(tmp_path / "core"))
    assert int(models) > 10
