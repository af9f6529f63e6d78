"""Link this clone into a QGIS profile: ``python tools/install_plugin.py [--profile NAME]``.

The repository's root is the plugin's folder. A link and no copy: what is edited here is what QGIS loads at
its next start. Nothing of QGIS's settings is touched; the plugin is ticked once in QGIS's plugin manager.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "hsi_toolkit"


class InstallError(Exception):
    """The plugin cannot be linked; the text says why and what to do."""


def profiles_folders() -> list[Path]:
    """Where QGIS of each generation keeps its profiles on this platform, the newest first."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return [base / "QGIS" / generation / "profiles" for generation in ("QGIS4", "QGIS3")]


def find_profiles(wanted: str | None) -> list[Path]:
    """The profiles to link into: a folder, one called so, or the default one of each QGIS that has run here.

    Raises:
        InstallError: there is none.
    """
    if wanted and Path(wanted).is_dir():
        return [Path(wanted)]
    name = wanted or "default"
    found = [folder / name for folder in profiles_folders() if (folder / name).is_dir()]
    if not found:
        looked = " and ".join(str(folder / name) for folder in profiles_folders())
        raise InstallError(
            f"There is no QGIS profile {looked}. Start QGIS once, or give the name or folder of a profile "
            "with --profile."
        )
    return found


def link(profile: Path, root: Path = ROOT) -> Path:
    """Link the clone into the profile, and return the link; one that is there already stays.

    Raises:
        InstallError: something else is there, or the system does not let links be made.
    """
    target = profile / "python" / "plugins" / NAME
    if target.exists() or target.is_symlink():
        if target.resolve() == root.resolve():
            return target
        raise InstallError(
            f"{target} is there already and is not this clone. Uninstall the plugin in QGIS, or remove it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(root, target_is_directory=True)
    except OSError as error:
        raise InstallError(
            f"{target} cannot be linked: {error}. On Windows, switch the developer mode on, or run this as "
            "administrator."
        ) from error
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Link this clone into a QGIS profile.")
    parser.add_argument("--profile", help="a profile's name or folder; by default each QGIS's 'default'")
    wanted = parser.parse_args(arguments).profile
    try:
        links = [link(profile) for profile in find_profiles(wanted)]
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for each in links:
        sys.stdout.write(f"Linked {each} to {ROOT}.\n")
    sys.stdout.write(
        "Now start QGIS (again), open Plugins, Manage and Install Plugins, Installed, and tick hsi_toolkit.\n"
        "Its algorithms are then in the Processing toolbox under Hyperspectral. The engine is this clone's\n"
        ".venv once 'make setup' has made it, or what Settings, Options, hsi_toolkit says.\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
