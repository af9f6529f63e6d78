"""Fixtures for every test."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Small problems gain nothing from threads, and threads that wait for each other lose much on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

SHARED_DEFAULT = Path(__file__).resolve().parents[1] / ".." / "shared"


def shared_folder() -> Path | None:
    """The folder of golden data and real scenes, or None where there is none (a user's clone)."""
    folder = Path(os.environ.get("HSI_SHARED", SHARED_DEFAULT)).resolve()
    return folder if (folder / "parity").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden data and real scenes; tests that need it skip where it is not."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs the golden data and real scenes; set HSI_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def run_command() -> Callable[..., None]:
    """``hsi`` with these arguments, in one process or in several that torchrun starts."""

    def run(*arguments: str, processes: int = 1) -> None:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        start = torchrun if processes > 1 else []
        done = subprocess.run(
            [sys.executable, *start, "-m", "hsi_toolkit.cli", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    return run
