"""Makes the environment that the worker runs in: a virtual environment in the profile, from a locked list.

It is made beside the one in use, checked, and only then swapped in, by one atomic write of the file that
points to it. Whatever goes wrong before leaves everything as it was, and what was made is removed. An
environment is never changed once it is in use.
"""

import errno
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, TextIO

from qgis.core import QgsNetworkAccessManager, QgsProcessingFeedback
from qgis.PyQt.QtCore import QLockFile, QStandardPaths, QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy

from ..hsi_toolkit import __version__
from .base_pythons import examine_base
from .environment import PAGE, ROOT, examine, pointer_file, profile_folder, python_of, run
from .pip_output import PipWatch, cause
from .settings import Settings

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
WHEELS = Path(__file__).with_name("wheels")

#: Bytes that making an environment takes at its largest: downloads, pip's copies of them, what is unpacked.
SPACE = {"cpu": 2_500_000_000, "cuda": 9_000_000_000}

#: The name of the threads that remove environments.
REMOVAL = "hsi_toolkit removal"

# Percent of the whole after which each stage begins.
_PACKAGES, _CORE, _CHECK = 4.0, 88.0, 92.0

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOENT, errno.ENOTDIR}


class InstallationError(Exception):
    """No environment could be made: one sentence on why and one on the cure, for the user."""


class InstallationCancelled(Exception):
    """The user cancelled; everything is as it was before."""


def recommended_build() -> str:
    """``"cuda"`` where there is a driver of an NVIDIA GPU, else ``"cpu"``."""
    driver = os.path.exists("/proc/driver/nvidia/version") or QStandardPaths.findExecutable("nvidia-smi")
    return "cuda" if driver else "cpu"


def create(base: Path, build: str, settings: Settings, feedback: QgsProcessingFeedback) -> Path:
    """Make an environment with the Python ``base``, swap it in and return its interpreter.

    ``build`` is PyTorch's, ``"cpu"`` or ``"cuda"``; the settings say where packages come from. Takes minutes;
    to be called outside the main thread.

    Raises:
        InstallationError: nothing has changed, the message says why and what to do.
        InstallationCancelled: ``feedback`` was cancelled, nothing has changed.
    """
    problem = examine_base(base, feedback)[0]
    if settings.wheel_folder and not os.path.isdir(settings.wheel_folder):
        problem = f"The wheel folder {settings.wheel_folder} is not there. Choose another one, or none."
    if problem:
        raise InstallationError(problem)
    home = profile_folder()
    try:
        environments = home / "environments"
        environments.mkdir(parents=True, exist_ok=True)
        lock = QLockFile(str(environments / "lock"))
        lock.setStaleLockTime(0)
        if not lock.tryLock(0):
            _raise_locked(lock, home)
        try:
            return _swap_in(environments, base, build, settings, feedback)
        finally:
            lock.unlock()
    except OSError as error:
        sentence = cause(str(error)) or f"The environment cannot be made ({error}). Try again."
        if error.errno in _UNWRITABLE:
            sentence = (
                f"The profile's folder {home} cannot be written to ({error.strerror}). Get the right to "
                f"write there, or choose an interpreter that you made yourself: {PAGE}."
            )
        raise InstallationError(sentence) from error


def _raise_locked(lock: QLockFile, home: Path) -> None:
    if lock.error() == QLockFile.LockError.LockFailedError:
        raise InstallationError("An environment is being made already. Wait until it is done, or cancel it.")
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home))


def _swap_in(
    environments: Path, base: Path, build: str, settings: Settings, feedback: QgsProcessingFeedback
) -> Path:
    """Make the environment, point to it, remove the others; on any failure remove it instead."""
    needed, free = SPACE[build], shutil.disk_usage(environments).free
    if free < needed:
        raise InstallationError(
            f"The disk of the profile has {free / 1e9:.1f} GB free, and about {needed / 1e9:.1f} GB are "
            "needed. Free some space and try again."
        )
    folder = _new_folder(environments)
    whole = False
    try:
        with (environments.parent / "environment.log").open("w", 1, "utf-8") as log:
            _Maker(folder, build, settings, feedback, log).make(base)
        _point_to(folder)
        whole = True
    finally:
        if not whole:
            _remove(folder)
    for other in environments.iterdir():
        if other.is_dir() and other != folder:
            _remove(other)
    feedback.setProgress(100)
    return python_of(folder)


def _new_folder(environments: Path) -> Path:
    # Short names: Windows allows paths of 260 characters, of which PyTorch's own files take half.
    number = 1
    while (environments / str(number)).exists():
        number += 1
    folder = environments / str(number)
    folder.mkdir()
    return folder


def _point_to(folder: Path) -> None:
    # The worker of the old environment would keep its files from being removed. Imported here, because most
    # who ask where the interpreter is need no client.
    from .client import stop

    stop()
    pointer = pointer_file()
    interpreter = python_of(folder).relative_to(pointer.parent).as_posix()
    new = pointer.with_suffix(".new")
    new.write_text(json.dumps({"interpreter": interpreter, "version": __version__}), "utf-8")
    os.replace(new, pointer)


def _remove(folder: Path) -> None:
    """Remove an environment, without keeping anybody waiting: its 40,000 files may take minutes.

    What is left when QGIS is closed meanwhile goes when the next environment is made.
    """
    threading.Thread(target=_remove_now, args=(folder,), name=REMOVAL, daemon=True).start()


def _remove_now(folder: Path) -> None:
    # A process that pip or venv had started may write for a moment after they were killed.
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


class _Maker:
    """Makes an environment in an empty folder, stage by stage."""

    def __init__(
        self, folder: Path, build: str, settings: Settings, feedback: QgsProcessingFeedback, log: TextIO
    ) -> None:
        self._folder, self._build, self._settings = folder, build, settings
        self._feedback, self._log = feedback, log
        self._python, self._text = python_of(folder), ""
        # In here, because the system's own may be a small disk in memory, and so that nothing stays behind.
        self._scratch = folder / "tmp"

    def make(self, base: Path) -> None:
        self._scratch.mkdir()
        self._stage(0, "Making the environment")
        self._run(base, ["-I", "-m", "venv", str(self._folder)])
        self._stage(_PACKAGES, "Looking for packages")
        self._install_packages()
        self._stage(_CORE, "Installing the core library")
        self._pip(["--no-index", "--no-deps", *self._core()])
        self._stage(_CHECK, "Checking the environment")
        self._check()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _stage(self, percent: float, text: str) -> None:
        if self._feedback.isCanceled():
            raise InstallationCancelled("Cancelled.")
        self._feedback.setProgress(percent)
        if text != self._text:
            self._feedback.setProgressText(text)
            self._text = text

    def _install_packages(self) -> None:
        wanted = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if "==" in line]
        arguments = ["--only-binary", ":all:", "--progress-bar", "off", "-r", str(REQUIREMENTS)]
        torch = next(line for line in wanted if line.startswith("torch=="))
        arguments.append(torch_requirement(self._build, torch))
        if self._settings.wheel_folder:
            arguments += ["--no-index", "--find-links", self._settings.wheel_folder]
        watch = PipWatch(self._folder, self._scratch, len(wanted))

        def show() -> None:
            fraction, text = watch.look()
            self._stage(_PACKAGES + (_CORE - _PACKAGES) * fraction, text)

        self._pip(arguments, on_line=watch.take, on_wait=show)

    def _core(self) -> List[str]:
        """What pip installs as the core: the wheel that came with the plugin, or the clone it lies in."""
        wheels = sorted(WHEELS.glob(f"hsi_toolkit-{__version__}-*.whl"))
        if wheels:
            return [str(wheels[-1])]
        if (ROOT / "pyproject.toml").is_file():
            # Linked, so that plugin and core stay of one version; built with the setuptools just installed.
            return ["--no-build-isolation", "--editable", str(ROOT)]
        raise InstallationError("The plugin's folder holds no core library. Install the plugin anew.")

    def _check(self) -> None:
        problem, found = examine(self._python, self._feedback)
        if self._feedback.isCanceled():
            raise InstallationCancelled("Cancelled.")
        if problem:
            raise InstallationError(f"The new environment does not work: {problem}{self._log_sentence()}")
        if self._build == "cuda" and not found["cuda"]:
            self._feedback.pushWarning(
                f"PyTorch {found['torch']} came without CUDA: the package index has no other build for this "
                "system. The environment works on the CPU; for CUDA give a PyTorch index and create it anew."
            )

    def _pip(
        self,
        arguments: List[str],
        on_line: Optional[Callable[[str], None]] = None,
        on_wait: Optional[Callable[[], None]] = None,
    ) -> None:
        command = ["-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *arguments]
        self._run(self._python, command, on_line, on_wait)

    def _run(
        self,
        program: Path,
        arguments: List[str],
        on_line: Optional[Callable[[str], None]] = None,
        on_wait: Optional[Callable[[], None]] = None,
    ) -> None:
        def take(line: str) -> None:
            self._log.write(line + "\n")
            if on_line:
                on_line(line)

        self._log.write(f"\n{program} {' '.join(arguments)}\n")
        variables = {**index_variables(self._settings), **proxy_variables(), "PIP_USER": "0"}
        variables.update({name: str(self._scratch) for name in ("TMPDIR", "TEMP", "TMP")})
        code, output = run(
            program, arguments, variables=variables, on_line=take, on_wait=on_wait, feedback=self._feedback
        )
        if code is None:
            raise InstallationCancelled("Cancelled.")
        if code != 0:
            said = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
            errors = [line for line in said if line.startswith("ERROR")] or said
            unknown = (
                f"The environment could not be made (exit code {code}: {errors[-1].strip()}). Try again; if "
                f"it stays so, make one yourself and choose its interpreter: {PAGE}."
            )
            raise InstallationError((cause(output) or unknown) + self._log_sentence())

    def _log_sentence(self) -> str:
        return f" The full log is in {self._log.name}."


def torch_requirement(build: str, pinned: str) -> str:
    """Which build of PyTorch pip is asked for, ``pinned`` being such as ``torch==2.13.0``.

    An index names builds in the version, as in 2.13.0+cpu, and pip prefers such a name to none. What comes
    without one depends on the system: with CUDA on Linux, for the CPU elsewhere.
    """
    version = pinned.split("==")[1]
    return f"{pinned},!={version}+cpu" if build == "cuda" else pinned


def index_variables(settings: Settings) -> Dict[str, str]:
    """Where pip finds packages; in variables, because others of this machine can read arguments."""
    variables = {}
    if settings.package_index:
        variables["PIP_INDEX_URL"] = settings.package_index
    if settings.torch_index:
        others = os.environ.get("PIP_EXTRA_INDEX_URL", "")
        variables["PIP_EXTRA_INDEX_URL"] = f"{others} {settings.torch_index}".strip()
    return variables


def proxy_variables() -> Dict[str, str]:
    """QGIS's own proxy in the form that pip reads; empty where QGIS uses the system's or none."""
    network = QgsNetworkAccessManager.instance()
    proxy = network.fallbackProxy()
    kinds = QNetworkProxy.ProxyType
    schemes = {kinds.HttpProxy: "http", kinds.HttpCachingProxy: "http", kinds.Socks5Proxy: "socks5h"}
    scheme = schemes.get(proxy.type(), "")
    if not scheme or not proxy.hostName():
        return {}
    address = QUrl()
    address.setScheme(scheme)
    address.setHost(proxy.hostName())
    address.setPort(proxy.port())
    if proxy.user():
        address.setUserName(proxy.user())
        address.setPassword(proxy.password())
    excluded = [QUrl(each).host() or each for each in (*network.excludeList(), *network.noProxyList())]
    encoded = bytes(address.toEncoded()).decode("ascii")
    return {
        "http_proxy": encoded,
        "https_proxy": encoded,
        "no_proxy": ",".join(each for each in excluded if each),
    }
