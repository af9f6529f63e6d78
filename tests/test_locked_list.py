"""The plugin's locked list holds all that the core needs, at the versions that are tested."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ROOT / "qgis_plugin" / "requirements.txt"


def entries() -> list[Requirement]:
    lines = LOCKED.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned() -> dict[str, Version]:
    return {
        canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in entries()
    }


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(each) for each in project["dependencies"]]


def test_every_entry_is_one_exact_version() -> None:
    texts = [str(each.specifier) for each in entries()]
    assert all(re.fullmatch(r"==[\w.]+", text) for text in texts)
    assert len(pinned()) == len(texts)


@pytest.mark.parametrize("dependency", declared(), ids=lambda each: each.name)
def test_every_dependency_is_there_at_a_version_it_allows(dependency: Requirement) -> None:
    assert pinned()[canonicalize_name(dependency.name)] in dependency.specifier


def test_what_the_dependencies_need_is_there_too() -> None:
    locked = pinned()
    # A dependency of another system is not installed here, so that nothing can be said about its own.
    for name in locked:
        try:
            needed = [Requirement(each) for each in distribution(name).requires or []]
        except PackageNotFoundError:
            continue
        here = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
        for each in here:
            # PyTorch pins CUDA's own packages itself.
            if name == "torch" and re.match(r"nvidia-|cuda-|triton", each.name):
                continue
            assert canonicalize_name(each.name) in locked, f"{name} needs {each}"
            assert locked[canonicalize_name(each.name)] in each.specifier, f"{name} needs {each}"


def test_torch_is_the_version_of_the_constraints() -> None:
    (constraint,) = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert constraint == f"torch=={pinned()['torch']}"
