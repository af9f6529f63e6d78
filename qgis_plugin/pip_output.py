"""What pip says, for people: how far it is, and why it failed."""

import re
from pathlib import Path
from typing import Set, Tuple

# How pip announces the package it takes next, such as "  Downloading numpy-2.4.6-cp311-linux.whl (16.6 MB)".
_WHEEL_LINE = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:.*[/\\])?([\w.]+)-\d[^/\\]*\.whl"
    r"(?: \(([\d.]+) (\w+)\)| |$)"
)
_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
# Bytes of a package whose download is worth following.
_LARGE = 5e6
# The share of the time that goes into fetching, and how many other packages PyTorch is worth.
_FETCHED, _TORCH_WEIGHT = 0.8, 30

# What pip and venv say when they fail, and what to tell the user; the first that matches.
_CAUSES: Tuple[Tuple[str, str], ...] = (
    (
        r"No space left|not enough space|Errno 28|WinError 112",
        "The disk is full. Free some space (about 2.5 GB, with CUDA 9 GB) and try again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "The package index's certificate is not trusted, as happens where a proxy inspects connections. "
        "Set the environment variable PIP_CERT to your organisation's certificates, or use a wheel folder.",
    ),
    (
        r"407 Proxy|ProxyError|Cannot connect to proxy|SOCKS",
        "The proxy refused the connection. Check Settings ▸ Options ▸ Network; pip needs an HTTP proxy.",
    ),
    (
        r"NewConnectionError|ConnectTimeout|NameResolutionError|Name or service not known|getaddrinfo failed"
        r"|nodename nor servname|Network is unreachable|ReadTimeout|Read timed out|Connection (refused|reset)"
        r"|RemoteDisconnected|IncompleteRead",
        "The package index cannot be reached. Check the network and the proxy in Settings ▸ Options ▸ "
        "Network, or use a wheel folder.",
    ),
    (
        r"\b(401|403) Client Error|(401|403) Error|Unauthorized|Forbidden",
        "The package index refuses access. Check its address and your rights to it.",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "The package {what} is not to be had for this Python and system. Choose another base Python, "
        "or check the index or wheel folder.",
    ),
    (
        r"WinError 206|[Ll]ong [Pp]ath",
        "A path is too long for Windows. Allow long paths in Windows, or use a QGIS profile with a "
        "shorter path.",
    ),
    (
        r"Permission denied|Access is denied|Read-only file system|WinError (5|32)\b",
        "A file could not be written. A virus scanner may hold it or you may lack the rights; try again.",
    ),
    (r"MemoryError|Cannot allocate memory", "Memory ran out. Close other programs and try again."),
)


class PipWatch:
    """Follows pip as it installs into ``folder``, by its output and by the files it writes.

    Pip shows no progress of its own where there is no terminal. Its temporary files are in ``scratch``.
    """

    def __init__(self, folder: Path, scratch: Path, packages: int) -> None:
        self._folder, self._scratch, self._packages = folder, scratch, packages
        self._seen: Set[str] = set()
        self._name, self._size, self._installing = "", 0.0, False

    def take(self, line: str) -> None:
        """Look at a line of pip's."""
        wheel = _WHEEL_LINE.match(line)
        if wheel:
            self._name = wheel.group(1)
            self._size = float(wheel.group(2) or 0) * _UNITS.get(wheel.group(3), 0)
            self._seen.add(self._name)
        elif line.startswith("Collecting "):
            self._name, self._size = re.split(r"[^\w.-]", line[len("Collecting ") :])[0], 0.0
        elif line.startswith("Ignoring "):
            self._packages -= 1
        elif line.startswith("Installing collected packages"):
            self._installing = True

    def look(self) -> Tuple[float, str]:
        """How far pip is, from 0 to 1 by what has come and what is unpacked, and what it does, in words."""
        packages = max(self._packages, len(self._seen))
        if self._installing:
            unpacked = min(self._unpacked(), packages)
            text = f"Unpacking packages ({unpacked} of {packages})"
            return _FETCHED + (1 - _FETCHED) * unpacked / packages, text
        come = self._come() if self._size > _LARGE else 0
        megabytes = f": {come / 1e6:.0f} of {self._size / 1e6:.0f} MB" if come else ""
        text = f"Fetching {self._name or 'packages'}{megabytes} (package {len(self._seen)} of {packages})"
        done = len(self._seen) + _TORCH_WEIGHT * ("torch" in self._seen)
        if come:
            done -= (1 - come / self._size) * (_TORCH_WEIGHT if self._name == "torch" else 1)
        return _FETCHED * done / (packages + _TORCH_WEIGHT), text

    def _come(self) -> float:
        """Bytes of the current package that are here."""
        try:
            sizes = [file.stat().st_size for file in self._scratch.glob(f"*/{self._name}-*.whl")]
        except OSError:  # moved since it was listed
            return 0
        return min(max(sizes, default=0), self._size)

    def _unpacked(self) -> int:
        """Packages that are installed."""
        places = ("lib/python3*/site-packages", "Lib/site-packages")
        return sum(1 for place in places for _ in self._folder.glob(f"{place}/*.dist-info"))


def cause(said: str) -> str:
    """The sentence for what pip, venv or the system said; empty when it is none of the known."""
    for pattern, sentence in _CAUSES:
        match = re.search(pattern, said)
        if match:
            return sentence.format(**match.groupdict())
    return ""
