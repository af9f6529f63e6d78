"""The Python environment that the worker runs in: found and checked. ``installation`` makes one."""

import json
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from qgis.core import QgsApplication, QgsFeedback
from qgis.PyQt.QtCore import QElapsedTimer, QProcess, QProcessEnvironment

from ..hsi_toolkit import __version__
from .settings import Settings

ROOT = Path(__file__).resolve().parents[1]

#: The oldest Python that the core library runs on.
OLDEST = (3, 11)

PAGE = "Settings ▸ Options ▸ hsi_toolkit"
CURE = f"Open {PAGE} and press 'Create environment', or choose another interpreter there."

_OR_CREATE = f"or press 'Create environment' in {PAGE}."

CREATED = "created by the plugin"

# Imported by the check, because each of them can fail by itself: libraries of the system that are missing,
# a virus scanner, a broken download.
_LIBRARIES = ("numpy", "scipy", "rasterio", "rioxarray", "h5py", "pyogrio", "sklearn", "torch")

# Seconds for a check; the first import of PyTorch on a cold disk under a virus scanner takes a minute.
_PATIENCE = 180

# What QGIS, or who started it, has set for its own Python, Qt and GDAL and must not reach another Python. Of
# pip's variables only those are kept that say how to reach an index.
_FOREIGN = re.compile(r"PYTHON|__PYVENV|VIRTUAL_ENV$|PIP_|QT_|QML|PROJ_|GDAL_")
_KEPT = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|CERT|CLIENT_CERT|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES"
    r"|CONFIG_FILE|CACHE_DIR|KEYRING_PROVIDER)$"
)

_PROBE = """
import importlib, json, sys
found = {"python": list(sys.version_info[:3]), "venv": True}
try:
    import ensurepip, venv
except ImportError:
    found["venv"] = False
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        found["failed"] = [name, type(error).__name__ + ": " + str(error)]
        break
    found[name] = getattr(module, "__version__", "")
    if name == "torch":
        found["cuda"] = module.version.cuda or ""
print(json.dumps(found))
"""


def profile_folder() -> Path:
    """Where the plugin keeps what it makes, in the user's QGIS profile."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "hsi_toolkit"


def find_interpreter() -> Optional[Path]:
    """The interpreter to start the worker with, None where no environment has been set up.

    In this order: ``HSI_PYTHON`` of the process's environment, the one set on the options page, the one the
    plugin created in the profile, and the ``.venv`` of a clone.
    """
    return locate()[0]


def locate(chosen: Optional[str] = None) -> Tuple[Optional[Path], str]:
    """The interpreter of ``find_interpreter`` and, in words, what it comes from.

    ``chosen`` stands in for the one set on the options page.
    """
    variable = os.environ.get("HSI_PYTHON")
    chosen = Settings.load().interpreter if chosen is None else chosen
    if variable:
        return Path(variable), "the environment variable HSI_PYTHON"
    if chosen:
        return Path(chosen), "set on the options page"
    created = read_pointer()
    if created:
        return profile_folder() / created["interpreter"], CREATED
    clone = python_of(ROOT / ".venv")
    return (clone, "the clone's own environment") if clone.exists() else (None, "")


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pointer_file() -> Path:
    """The file that says which environment in the profile is the one in use."""
    return profile_folder() / "environment.json"


def read_pointer() -> Dict[str, str]:
    """The ``interpreter`` in use, relative to the profile's folder, and the ``version`` it was made for."""
    try:
        found = json.loads(pointer_file().read_text("utf-8"))
        return {name: str(found[name]) for name in ("interpreter", "version")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def missing_sentence(chosen: Optional[str] = None) -> str:
    """Why the worker cannot be started, and the cure; empty when it can. Cheap: no process is started."""
    interpreter, origin = locate(chosen)
    if interpreter is None:
        return f"The engine is not set up yet. {CURE}"
    if not os.path.isfile(interpreter):
        return f"The engine's interpreter {interpreter} ({origin}) is not there. {CURE}"
    if origin == CREATED and read_pointer().get("version") != __version__:
        return (
            f"The engine's environment was made for another version of the plugin than {__version__}. "
            f"Open {PAGE} and create it anew."
        )
    return ""


def check_interpreter(path: Path) -> str:
    """What is wrong with an interpreter and the cure, empty when the worker can run with it."""
    return examine(path)[0]


def examine(path: Path, feedback: Optional[QgsFeedback] = None) -> Tuple[str, Dict[str, Any]]:
    """The sentence of ``check_interpreter``, and what was found: the versions by name.

    Starts the interpreter and imports what the engine needs, which takes seconds. Cancelled, it says so.
    """
    problem = file_problem(path)
    if problem:
        return problem, {}
    found, output = ask(path, ("hsi_toolkit", *_LIBRARIES), feedback)
    if not found:
        return f"{path} does not work as a Python ({output}). {CURE}", {}
    version, failed = tuple(found["python"]), found.get("failed", ("", ""))
    if version < OLDEST:
        problem = f"{path} is Python {dotted(version)}; the engine needs {dotted(OLDEST)} or newer. {CURE}"
    elif failed[0] == "hsi_toolkit":
        problem = f"{path} has no hsi_toolkit ({failed[1]}). Install the core library into it, {_OR_CREATE}"
    elif found["hsi_toolkit"] != __version__:
        problem = (
            f"{path} has hsi_toolkit {found['hsi_toolkit']}, but the plugin is {__version__}. "
            f"Install the same version into it, {_OR_CREATE}"
        )
    elif failed[0]:
        problem = f"{path} cannot import {failed[0]} ({failed[1]}). {_import_cure(failed[1])}"
    return problem, found


def in_words(found: Dict[str, Any]) -> str:
    """What ``examine`` found, such as "hsi_toolkit 0.1.0, Python 3.11.7, PyTorch 2.13.0 with CUDA 13.0"."""
    torch = f"PyTorch {found['torch']} " + (f"with CUDA {found['cuda']}" if found["cuda"] else "for the CPU")
    return f"hsi_toolkit {found['hsi_toolkit']}, Python {dotted(found['python'])}, {torch}"


def dotted(version: Sequence[int]) -> str:
    """A version as one writes it."""
    return ".".join(str(part) for part in version)


def file_problem(path: Path) -> str:
    """Why a path cannot be that of an interpreter, and the cure."""
    inside = "bin/python, on Windows Scripts\\python.exe"
    if os.path.isdir(path):
        return f"{path} is a folder. Choose the Python executable inside it ({inside})."
    if not os.path.isfile(path):
        return f"{path} is not there. {CURE}"
    if path.name.lower().startswith("qgis"):
        return f"{path} is QGIS itself. Choose the Python executable of a virtual environment ({inside})."
    if not os.access(path, os.X_OK):
        return f"{path} cannot be executed. Choose a Python executable that you may run, {_OR_CREATE}"
    return ""


def _import_cure(error: str) -> str:
    if re.search(r"DLL|WinError (126|1114)|c10\.dll|VCRUNTIME", error):
        return "Install the Microsoft Visual C++ Redistributable (x64) and start QGIS again."
    return f"Create the environment anew: {PAGE}."


def ask(
    path: Path, names: Sequence[str] = (), feedback: Optional[QgsFeedback] = None
) -> Tuple[Dict[str, Any], str]:
    """What the probe says after importing ``names``; empty, and why, where it says nothing."""
    code, output = run(path, ["-I", "-c", _PROBE, *names], feedback=feedback, seconds=_PATIENCE)
    lines = output.strip().splitlines()
    for line in reversed(lines if code == 0 else []):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "python" in found:
            return found, ""
    if code is None:
        return {}, "it was stopped before it had answered"
    return {}, f"exit code {code}" + (f": {lines[-1].strip()}" if lines else "")


def run(
    program: Path,
    arguments: Sequence[str],
    *,
    variables: Optional[Dict[str, str]] = None,
    on_line: Optional[Callable[[str], None]] = None,
    on_wait: Optional[Callable[[], None]] = None,
    feedback: Optional[QgsFeedback] = None,
    seconds: float = float("inf"),
) -> Tuple[Optional[int], str]:
    """Run a program to its end; its exit code and all that it said.

    The code is None when the program was killed, which it is at once when ``feedback`` is cancelled or after
    ``seconds``, and −1 when it crashed or could not be started. ``on_line`` gets each line as it comes,
    ``on_wait`` is called several times a second. ``variables`` come on top of QGIS's own, less those that
    lead another Python astray.
    """
    process, clock = QProcess(), QElapsedTimer()
    process.setProcessEnvironment(_clean_environment(variables or {}))
    process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
    process.start(str(program), list(arguments))
    clock.start()
    if not process.waitForStarted(30_000):
        return -1, process.errorString()
    process.closeWriteChannel()
    said: List[str] = []
    rest, ended = b"", False
    try:
        while not ended:
            process.waitForReadyRead(100)
            # Asked before reading, so that what came last is read as well.
            ended = process.state() == QProcess.ProcessState.NotRunning
            *lines, rest = (rest + bytes(process.readAll()) + b"\n" * ended).split(b"\n")
            for line in lines:
                said.append(line.decode("utf-8", "replace").rstrip())
                if on_line:
                    on_line(said[-1])
            if on_wait:
                on_wait()
            if clock.elapsed() > seconds * 1000 or (feedback is not None and feedback.isCanceled()):
                return None, "\n".join(said)
    finally:
        if process.state() != QProcess.ProcessState.NotRunning:
            process.kill()
            process.waitForFinished(5000)
    crashed = process.exitStatus() == QProcess.ExitStatus.CrashExit
    return -1 if crashed else process.exitCode(), "\n".join(said)


def _clean_environment(variables: Dict[str, str]) -> QProcessEnvironment:
    environment = QProcessEnvironment.systemEnvironment()
    names = environment.keys()
    for name in names:
        if _FOREIGN.match(name.upper()) and not _KEPT.match(name.upper()):
            environment.remove(name)
    for name, value in variables.items():
        environment.insert(name, value)
    return environment
