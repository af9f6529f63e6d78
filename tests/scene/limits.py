"""Running the command line and measuring what it takes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="measures memory through /proc"
)

# What the operating system reports of a child's peak includes its parent's, of which it began as a copy.
_MEASURED = """
import json, resource, sys
from hsi_toolkit.cli import main
sys.argv[0] = "hsi"
status = 0
try:
    main()
except SystemExit as end:
    status = end.code
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([status, int(peak), usage.ru_utime + usage.ru_stime]))
"""


class Taken(NamedTuple):
    """Exit status, what was said on the error stream, peak memory in kB and processor seconds."""

    status: int
    said: str
    peak_kb: int
    seconds: float


def hsi(*arguments: str) -> Taken:
    """Run ``hsi`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    status, peak, seconds = json.loads(done.stdout.splitlines()[-1])
    return Taken(status, done.stderr, peak, seconds)
