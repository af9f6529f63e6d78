"""Build the zip that QGIS's plugin manager installs: ``python tools/build_plugin.py [--output dist]``.

The zip holds the plugin's folders and the task declarations as source, and the core library as a wheel that
the engine's environment installs, so that plugin and core always match. The same sources give the same bytes.
Needs pip and setuptools in the Python that runs it, and no network.
"""

import argparse
import ast
import configparser
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "hsi_toolkit"

#: What the plugin consists of, as patterns below the repository's root.
PLUGIN = (
    "__init__.py", "metadata.txt", "LICENSE", "README.md", "qgis_plugin/**/*", "processing_algorithms/**/*",
    "hsi_toolkit/__init__.py", "hsi_toolkit/errors.py", "hsi_toolkit/tasks/**/*",
)  # fmt: skip
#: What the wheel is built from.
CORE = ("pyproject.toml", "LICENSE", "README.md", "hsi_toolkit/**/*")
WHEELS = "qgis_plugin/wheels"

# Every file in zip and wheel gets this date, 2020-01-01, so that they do not change when nothing else does.
_DATE = (2020, 1, 1, 0, 0, 0)
_EPOCH = "1577836800"


class BuildError(Exception):
    """The plugin cannot be built; the text says why."""


def build(output: Path, root: Path = ROOT) -> Path:
    """Write ``hsi_toolkit-<version>.zip`` into the folder ``output`` and return its path.

    Raises:
        BuildError: ``metadata.txt`` and the core disagree on the version, or the wheel cannot be built.
    """
    version = core_version(root)
    stated = metadata(root)["version"]
    if stated != version:
        raise BuildError(f"metadata.txt says version {stated}, hsi_toolkit/__init__.py {version}.")
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{NAME}-{version}.zip"
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder), root)
        files = {f"{NAME}/{path.relative_to(root).as_posix()}": path for path in _files(root, PLUGIN)}
        files[f"{NAME}/{WHEELS}/{wheel.name}"] = wheel
        temporary = target.with_suffix(".part")
        _write_zip(temporary, files)
        os.replace(temporary, target)
    return target


def build_wheel(folder: Path, root: Path = ROOT) -> Path:
    """Build the core's wheel in ``folder`` from a copy, which leaves no traces in the clone.

    Raises:
        BuildError: pip or setuptools fails.
    """
    copy = folder / "source"
    for path in _files(root, CORE):
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o644)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(copy)],
        env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PIP_NO_INDEX": "1", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise BuildError(f"The core's wheel cannot be built:\n{done.stderr.strip()[-2000:]}")
    return wheels[0]


def core_version(root: Path = ROOT) -> str:
    """``__version__`` of the core, which is read and not run."""
    tree = ast.parse((root / NAME / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__version__" and isinstance(node, ast.Assign):
            return str(ast.literal_eval(node.value))
    raise BuildError("hsi_toolkit/__init__.py states no __version__.")


def metadata(root: Path = ROOT) -> dict[str, str]:
    """The entries of ``metadata.txt``."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((root / "metadata.txt").read_text(encoding="utf-8"))
    return dict(parser["general"])


def _files(root: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """The files that match, but for what Python and editors leave behind and wheels of earlier builds."""
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(found):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not hidden and path.suffix not in (".pyc", ".whl"):
            yield path


def _write_zip(target: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on every system
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name].read_bytes())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Build the plugin's zip.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="the folder to write it into")
    arguments = parser.parse_args()
    try:
        target = build(arguments.output)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{target} ({target.stat().st_size / 1e6:.2f} MB)\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
