"""The engine's environment: which one is used, what is wrong with one, and how one is made."""

import json
import sys
import threading
import zipfile
from pathlib import Path

import pytest

STUB = """#!/usr/bin/python3
# Stands in for a base Python, and for the environment's that it "makes": writes down how it was called.
import json, os, pathlib, shutil, sys, time
arguments, here = sys.argv[1:], pathlib.Path(__file__)
plan = json.loads(pathlib.Path(os.environ["HSI_STUB"]).read_text("utf-8"))
with open(plan["calls"], "a", encoding="utf-8") as calls:
    calls.write(json.dumps({"arguments": arguments, "environment": dict(os.environ)}) + "\\n")
if arguments[1] == "-c":
    names = {"hsi_toolkit": plan["core"], "torch": "2.13.0", "cuda": plan["cuda"]}
    found = {"python": plan["python"], "venv": plan["venv"], **names}
    if plan["failed"]:
        found["failed"] = plan["failed"]
    print(json.dumps(found))
elif arguments[2] == "venv":
    target = pathlib.Path(arguments[3]) / "bin" / "python"
    target.parent.mkdir(parents=True)
    shutil.copy(here, target)
elif "--only-binary" in arguments:
    print("Collecting numpy==2.4.6", flush=True)
    (here.parents[1] / "half").write_text("half")
    if plan["hangs"]:
        time.sleep(60)
    print(plan["says"])
    sys.exit(plan["code"])
"""


@pytest.fixture
def environment(qgis_app, monkeypatch, tmp_path):
    """The module, without an engine, its profile in a folder with a space and letters beyond ASCII."""
    from hsi_toolkit.qgis_plugin import environment, installation

    home = tmp_path / "Prófil ünd mehr" / "hsi_toolkit"
    monkeypatch.delenv("HSI_PYTHON", raising=False)
    for module in (environment, installation):
        monkeypatch.setattr(module, "profile_folder", lambda: home)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "no clone")
    monkeypatch.setattr(environment.Settings, "load", classmethod(lambda cls: cls()))
    return environment


@pytest.fixture
def installation(environment, monkeypatch):
    from hsi_toolkit.qgis_plugin import client, installation

    monkeypatch.setattr(client, "stop", lambda: None)
    return installation


@pytest.fixture
def feedback(qgis_app):
    from hsi_toolkit.qgis_plugin.background import StageFeedback

    return StageFeedback()


class Stub:
    """A base Python that makes environments in no time; its attributes say what it does."""

    def __init__(self, folder, version):
        self.path = executable(folder / "python3", STUB)
        self._plan = folder / "plan.json"
        self._calls = folder / "calls"
        self.plan = {
            "calls": str(self._calls),
            "python": [3, 11, 2],
            "venv": True,
            "core": version,
            "cuda": "",
            "failed": [],
            "hangs": False,
            "says": "",
            "code": 0,
        }
        self.set()

    def set(self, **values):
        self.plan.update(values)
        self._plan.write_text(json.dumps(self.plan), "utf-8")

    def calls(self, word):
        """The calls that have the word among their arguments."""
        lines = self._calls.read_text("utf-8").splitlines() if self._calls.exists() else []
        return [call for call in map(json.loads, lines) if word in call["arguments"]]


@pytest.fixture
def stub(tmp_path, monkeypatch, environment):
    folder = tmp_path / "base"
    folder.mkdir()
    monkeypatch.setenv("HSI_STUB", str(folder / "plan.json"))
    return Stub(folder, environment.__version__)


def executable(path, text):
    path.write_text(text, "utf-8")
    path.chmod(0o755)
    return path


def settings(**values):
    from hsi_toolkit.qgis_plugin.settings import Settings

    return Settings(**values)


def made(environment):
    """The environments in the profile, by name, once those that go are gone."""
    from hsi_toolkit.qgis_plugin.installation import REMOVAL

    for thread in threading.enumerate():
        if thread.name == REMOVAL:
            thread.join()
    folder = environment.profile_folder() / "environments"
    return sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []


# Which interpreter is used.


def test_the_order_of_interpreters(environment, monkeypatch, tmp_path):
    assert environment.find_interpreter() is None
    clone = tmp_path / "no clone" / ".venv" / "bin" / "python"
    clone.parent.mkdir(parents=True)
    executable(clone, "")
    assert environment.locate() == (clone, "the clone's own environment")
    environment.profile_folder().mkdir(parents=True)
    pointer = {"interpreter": "environments/1/bin/python", "version": environment.__version__}
    environment.pointer_file().write_text(json.dumps(pointer), "utf-8")
    in_profile = environment.profile_folder() / "environments/1/bin/python"
    assert environment.locate() == (in_profile, environment.CREATED)
    monkeypatch.setattr(environment.Settings, "load", classmethod(lambda cls: cls(interpreter="/set/python")))
    assert environment.find_interpreter() == Path("/set/python")
    monkeypatch.setenv("HSI_PYTHON", "/from/the/variable")
    assert environment.find_interpreter() == Path("/from/the/variable")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": "1"}', "\x00"])
def test_a_damaged_pointer_is_no_environment(environment, content):
    environment.profile_folder().mkdir(parents=True)
    environment.pointer_file().write_text(content, "utf-8")
    assert environment.find_interpreter() is None


def test_without_an_environment_the_sentence_names_the_cure(environment):
    sentence = environment.missing_sentence()
    assert "not set up" in sentence
    assert "Create environment" in sentence


def test_an_interpreter_that_went_missing_is_named(environment, monkeypatch):
    monkeypatch.setenv("HSI_PYTHON", "/gone/python")
    assert "/gone/python" in environment.missing_sentence()
    assert "HSI_PYTHON" in environment.missing_sentence()


def test_an_environment_of_another_version_is_to_be_made_anew(environment, installation, stub, feedback):
    installation.create(stub.path, "cpu", settings(), feedback)
    assert environment.missing_sentence() == ""
    pointer = json.loads(environment.pointer_file().read_text("utf-8"))
    environment.pointer_file().write_text(json.dumps({**pointer, "version": "0.0.9"}), "utf-8")
    assert "another version" in environment.missing_sentence()


# What is wrong with one.


@pytest.mark.slow
def test_the_engines_interpreter_passes_the_check(environment, engine_python):
    problem, found = environment.examine(engine_python)
    assert problem == ""
    assert environment.in_words(found).startswith(f"hsi_toolkit {environment.__version__}, Python 3.")


def test_paths_that_are_no_interpreter(environment, tmp_path):
    assert "is not there" in environment.check_interpreter(tmp_path / "nothing")
    assert "is a folder" in environment.check_interpreter(tmp_path)
    plain = tmp_path / "python"
    plain.write_text("")
    assert "cannot be executed" in environment.check_interpreter(plain)
    assert "QGIS itself" in environment.check_interpreter(executable(tmp_path / "qgis-bin.exe", ""))


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\necho no\nexit 3\n", "#!/bin/sh\necho '{}'\n", "#!/bin/sh\nkill -9 $$\n"]
)
def test_a_program_that_is_no_python(environment, tmp_path, script):
    program = executable(tmp_path / "python", script)
    assert "does not work as a Python" in environment.check_interpreter(program)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"python": [3, 9, 18]}, "is Python 3.9.18; the engine needs 3.11 or newer"),
        ({"failed": ["hsi_toolkit", "ModuleNotFoundError: none"]}, "has no hsi_toolkit"),
        ({"core": "9.9.9"}, "has hsi_toolkit 9.9.9, but the plugin is"),
        (
            {"failed": ["rasterio", "ImportError: libz.so.1"]},
            "cannot import rasterio (ImportError: libz.so.1)",
        ),
        ({"failed": ["torch", "OSError: [WinError 126] c10.dll"]}, "Visual C++ Redistributable"),
    ],
)
def test_an_environment_that_lacks_something(environment, stub, plan, expected):
    stub.set(**plan)
    assert expected in environment.check_interpreter(stub.path)


def test_qgiss_own_python_has_no_core(environment):
    assert "has no hsi_toolkit" in environment.check_interpreter(Path("/usr/bin/python3"))


def test_variables_of_qgis_do_not_reach_the_interpreter(environment, engine_python, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_LIBRARIES", ("numpy", "rasterio"))
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "PROJ_LIB", "GDAL_DATA", "QT_PLUGIN_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    assert environment.check_interpreter(engine_python) == ""


# Bases.


def test_this_machines_python_can_make_an_environment(qgis_app):
    from hsi_toolkit.qgis_plugin.base_pythons import base_interpreters

    bases = base_interpreters()
    assert any(base.has_venv for base in bases)
    assert all(base.version >= (3, 11) and "config" not in base.path.name for base in bases)


def test_a_base_without_venv_names_the_package(stub, environment):
    from hsi_toolkit.qgis_plugin.base_pythons import examine_base

    stub.set(venv=False)
    problem, base = examine_base(stub.path)
    assert "apt install python3.11-venv" in problem
    assert not base.has_venv


@pytest.mark.parametrize("version", [[3, 10, 4], [3, 99, 0]])
def test_a_base_of_another_version_names_those_that_fit(stub, environment, version):
    from hsi_toolkit.qgis_plugin.base_pythons import examine_base

    stub.set(python=version)
    assert "Install Python 3.11 to 3." in examine_base(stub.path)[0]


# Making one.


def test_a_new_environment_is_swapped_in_whole(environment, installation, stub, feedback):
    first = installation.create(stub.path, "cpu", settings(), feedback)
    assert environment.find_interpreter() == first
    assert first == environment.profile_folder() / "environments" / "1" / "bin" / "python"
    assert environment.missing_sentence() == ""
    second = installation.create(stub.path, "cpu", settings(), feedback)
    assert environment.find_interpreter() == second != first
    assert made(environment) == ["2"]
    assert not list(second.parents[1].glob("tmp"))
    assert feedback.progress() == 100
    assert feedback.stage == "Checking the environment"


def test_the_worker_is_stopped_before_the_swap(environment, installation, stub, feedback, monkeypatch):
    from hsi_toolkit.qgis_plugin import client

    seen = []
    monkeypatch.setattr(client, "stop", lambda: seen.append(environment.read_pointer()))
    installation.create(stub.path, "cpu", settings(), feedback)
    assert seen == [{}]


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (
            "NewConnectionError('<...>: Name or service not known')\nERROR: No matching distribution",
            "cannot be reached",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED)", "certificate is not trusted"),
        ("ERROR: 407 Proxy Authentication Required", "proxy refused"),
        ("ERROR: HTTP error 401 Client Error: Unauthorized", "refuses access"),
        ("ERROR: No matching distribution found for scipy==1.17.1", "package scipy==1.17.1 is not to be had"),
        ("OSError: [WinError 206] The filename or extension is too long", "too long for Windows"),
        ("ERROR: something nobody has seen", "something nobody has seen"),
    ],
)
def test_a_failure_leaves_the_old_one(environment, installation, stub, feedback, says, expected):
    old = installation.create(stub.path, "cpu", settings(), feedback)
    stub.set(code=1, says=says)
    with pytest.raises(installation.InstallationError, match=r"environment\.log") as failure:
        installation.create(stub.path, "cpu", settings(), feedback)
    assert expected in str(failure.value)
    assert environment.find_interpreter() == old
    assert made(environment) == ["1"]
    log = environment.profile_folder() / "environment.log"
    assert says.splitlines()[-1] in log.read_text("utf-8")


def test_an_environment_that_does_not_work_is_not_used(environment, installation, stub, feedback):
    stub.set(core="9.9.9")
    with pytest.raises(installation.InstallationError, match=r"does not work: .*9\.9\.9"):
        installation.create(stub.path, "cpu", settings(), feedback)
    assert made(environment) == []
    assert environment.find_interpreter() is None


def test_cancelled_it_removes_everything(environment, installation, stub, feedback):
    old = installation.create(stub.path, "cpu", settings(), feedback)
    stub.set(hangs=True)
    timer = threading.Timer(0.5, feedback.cancel)
    timer.start()
    with pytest.raises(installation.InstallationCancelled):
        installation.create(stub.path, "cpu", settings(), feedback)
    assert environment.find_interpreter() == old
    assert made(environment) == ["1"]


def test_a_profile_that_cannot_be_written_to(environment, installation, stub, feedback):
    # A file in the folder's place: permissions do not hold back the root user of a test machine.
    environment.profile_folder().parent.mkdir(parents=True)
    environment.profile_folder().write_text("")
    with pytest.raises(installation.InstallationError, match="cannot be written to"):
        installation.create(stub.path, "cpu", settings(), feedback)
    assert not stub.calls("venv")


def test_a_full_disk_is_noticed_before_the_start(environment, installation, stub, feedback, monkeypatch):
    monkeypatch.setitem(installation.SPACE, "cpu", 10**18)
    with pytest.raises(installation.InstallationError, match="GB free"):
        installation.create(stub.path, "cpu", settings(), feedback)
    assert not stub.calls("venv")


def test_only_one_is_made_at_a_time(environment, installation, stub, feedback):
    from qgis.PyQt.QtCore import QLockFile

    folder = environment.profile_folder() / "environments"
    folder.mkdir(parents=True)
    other = QLockFile(str(folder / "lock"))
    assert other.tryLock(0)
    with pytest.raises(installation.InstallationError, match="being made already"):
        installation.create(stub.path, "cpu", settings(), feedback)
    other.unlock()
    installation.create(stub.path, "cpu", settings(), feedback)


def test_pip_gets_the_locked_list_and_asks_nobody(installation, stub, feedback):
    installation.create(stub.path, "cpu", settings(), feedback)
    packages, core = (call["arguments"] for call in stub.calls("pip"))
    assert packages[:6] == ["-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    assert packages[packages.index("--only-binary") + 1] == ":all:"
    assert packages[packages.index("-r") + 1] == str(installation.REQUIREMENTS)
    assert not any("trusted" in argument or "index-url" in argument for argument in packages)
    assert {"--no-deps", "--no-index", "--editable", str(installation.ROOT)} <= set(core)


def test_the_core_is_the_wheel_that_came_with_the_plugin(installation, stub, feedback, monkeypatch, tmp_path):
    wheel = tmp_path / f"hsi_toolkit-{installation.__version__}-py3-none-any.whl"
    wheel.write_bytes(b"")
    (tmp_path / "hsi_toolkit-0.0.1-py3-none-any.whl").write_bytes(b"")
    monkeypatch.setattr(installation, "WHEELS", tmp_path)
    installation.create(stub.path, "cpu", settings(), feedback)
    assert stub.calls("--no-deps")[0]["arguments"][-1] == str(wheel)


def test_a_wheel_folder_keeps_pip_off_the_network(installation, stub, feedback, tmp_path):
    installation.create(stub.path, "cpu", settings(wheel_folder=str(tmp_path)), feedback)
    arguments = stub.calls("--find-links")[0]["arguments"]
    assert "--no-index" in arguments
    assert arguments[arguments.index("--find-links") + 1] == str(tmp_path)
    with pytest.raises(installation.InstallationError, match="is not there"):
        installation.create(stub.path, "cpu", settings(wheel_folder="/gone"), feedback)


def test_pips_variables_say_where_packages_are_and_no_more(installation, stub, feedback, monkeypatch):
    poisoned = {
        "PIP_TARGET": "/x",
        "PIP_TRUSTED_HOST": "x",
        "PIP_NO_DEPS": "1",
        "PYTHONHOME": "/x",
        "PYTHONPATH": "/x",
    }
    kept = {"PIP_CERT": "/certificates", "PIP_EXTRA_INDEX_URL": "https://one.example.org"}
    for name, value in {**poisoned, **kept}.items():
        monkeypatch.setenv(name, value)
    chosen = settings(package_index="https://two.example.org", torch_index="https://three.example.org")
    installation.create(stub.path, "cpu", chosen, feedback)
    seen = stub.calls("--only-binary")[0]["environment"]
    assert not set(poisoned) & set(seen)
    assert seen["PIP_CERT"] == "/certificates"
    assert seen["PIP_INDEX_URL"] == "https://two.example.org"
    assert seen["PIP_EXTRA_INDEX_URL"] == "https://one.example.org https://three.example.org"
    assert seen["TMPDIR"].startswith(str(installation.profile_folder()))


def test_qgiss_proxy_is_handed_on(installation, stub, feedback, qgis_app):
    from qgis.core import QgsNetworkAccessManager
    from qgis.PyQt.QtCore import QUrl
    from qgis.PyQt.QtNetwork import QNetworkProxy

    network = QgsNetworkAccessManager.instance()
    before = network.fallbackProxy()
    assert installation.proxy_variables() == {}
    proxy = QNetworkProxy(QNetworkProxy.ProxyType.HttpProxy, "proxy.example.org", 3128, "me", "p@ss:word")
    try:
        network.setFallbackProxyAndExcludes(proxy, ["https://intern.example.org/wms"], ["localhost"])
        installation.create(stub.path, "cpu", settings(), feedback)
    finally:
        network.setFallbackProxyAndExcludes(before, [], [])
    seen = stub.calls("--only-binary")[0]["environment"]
    proxy = QUrl(seen["https_proxy"])
    assert (proxy.scheme(), proxy.host(), proxy.port()) == ("http", "proxy.example.org", 3128)
    assert (proxy.userName(), proxy.password()) == ("me", "p@ss:word")
    assert set(seen["no_proxy"].split(",")) == {"intern.example.org", "localhost"}


def test_cuda_is_asked_for_and_its_absence_is_told(installation, stub, feedback):
    installation.create(stub.path, "cuda", settings(), feedback)
    assert stub.calls("--only-binary")[0]["arguments"][-1].endswith("+cpu")
    assert "without CUDA" in feedback.warning
    feedback.warning = ""
    stub.set(cuda="13.0")
    installation.create(stub.path, "cuda", settings(), feedback)
    assert feedback.warning == ""


# What pip says.


def test_pips_output_becomes_progress(qgis_app, tmp_path):
    from hsi_toolkit.qgis_plugin.pip_output import PipWatch

    watch = PipWatch(tmp_path, tmp_path / "tmp", 3)
    shares = [watch.look()[0]]
    for line, expected in (
        ("Ignoring colorama: markers 'sys_platform == \"win32\"' don't match", "(package 0 of 2)"),
        ("Collecting numpy==2.4.6 (from -r requirements.txt (line 1))", "Fetching numpy (package 0 of 2)"),
        ("  Using cached numpy-2.4.6-cp311-cp311-linux.whl (16.6 MB)", "Fetching numpy (package 1 of 2)"),
        (
            "Processing /some/where/torch-2.13.0-cp311-linux.whl (from -r /a/b.txt (line 2))",
            "Fetching torch (package 2",
        ),
        ("Installing collected packages: numpy, torch", "Unpacking packages (0 of 2)"),
    ):
        watch.take(line)
        share, text = watch.look()
        assert expected in text
        shares.append(share)
    (tmp_path / "lib/python3.11/site-packages/numpy-2.4.6.dist-info").mkdir(parents=True)
    shares.append(watch.look()[0])
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.9)


def test_a_large_download_shows_its_bytes(qgis_app, tmp_path):
    from hsi_toolkit.qgis_plugin.pip_output import PipWatch

    watch = PipWatch(tmp_path, tmp_path, 10)
    watch.take("  Downloading torch-2.13.0-cp311-linux.whl (200.0 MB)")
    before = watch.look()[0]
    part = tmp_path / "pip-unpack-1" / "torch-2.13.0-cp311-linux.whl"
    part.parent.mkdir()
    with part.open("wb") as file:
        file.truncate(50_000_000)
    share, text = watch.look()
    assert "50 of 200 MB" in text
    assert 0 < share < before


# The real pip, without a network.


def write_wheel(folder, name, version, module, source):
    """A wheel of one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        module: source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(inside, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{inside},,\n" for inside in [*files, f"{info}/RECORD"]))
    return path


@pytest.mark.slow
def test_a_real_environment_from_a_wheel_folder(environment, installation, feedback, monkeypatch, tmp_path):
    wheels, locked = tmp_path / "räder und mehr", tmp_path / "locked.txt"
    wheels.mkdir()
    torch = "class version:\n    cuda = None\n\n__version__ = '2.13.0'\n"
    write_wheel(wheels, "torch", "2.13.0", "torch/__init__.py", torch)
    core = f"__version__ = {environment.__version__!r}\n"
    write_wheel(tmp_path, "hsi_toolkit", environment.__version__, "hsi_toolkit/__init__.py", core)
    locked.write_text("torch==2.13.0\n", "utf-8")
    monkeypatch.setattr(installation, "REQUIREMENTS", locked)
    monkeypatch.setattr(installation, "WHEELS", tmp_path)
    monkeypatch.setattr(environment, "_LIBRARIES", ("torch",))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    made_by = Path(sys.base_prefix) / "bin" / "python3"
    interpreter = installation.create(made_by, "cpu", settings(wheel_folder=str(wheels)), feedback)
    assert environment.find_interpreter() == interpreter
    problem, found = environment.examine(interpreter)
    assert problem == ""
    assert environment.in_words(found).endswith("PyTorch 2.13.0 for the CPU")
    code, said = environment.run(interpreter, ["-I", "-c", "import torch; print(torch.__file__)"])
    assert code == 0
    assert said.startswith(str(environment.profile_folder()))
