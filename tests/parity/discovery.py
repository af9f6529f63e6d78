"""Finding golden cases: every file under ``parity/<system>/`` of a system that has a runner is a test."""

import importlib
import json
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from . import runners

SHARED_DEFAULT = Path(__file__).resolve().parents[2] / ".." / "shared"


@dataclass(frozen=True)
class Case:
    """One golden case: ``<name>.json`` says what was run, ``<name>.safetensors`` holds inputs and outputs."""

    system: str
    name: str
    folder: Path = field(repr=False)

    def __str__(self) -> str:
        return f"{self.system}/{self.name}"

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The JSON; empty where the case has none."""
        path = self.folder / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @property
    def config(self) -> dict[str, Any]:
        """What the original's constructor or function was called with."""
        return self.spec.get("config", {})

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by their full name; empty where the case has none."""
        path = self.folder / f"{self.name}.safetensors"
        return load_file(path) if path.exists() else {}

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors named ``prefix.*``, without the prefix."""
        start = f"{prefix}."
        return {
            key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)
        }


Runner = Callable[[Case], None]


def parity_folder() -> Path | None:
    """The folder of golden cases, or None where there is none (a user's clone)."""
    folder = Path(os.environ.get("HSI_SHARED", SHARED_DEFAULT)).resolve() / "parity"
    return folder if folder.is_dir() else None


def systems_with_runners() -> list[str]:
    """Systems whose golden cases can be run: the modules of ``runners``."""
    return [module.name for module in pkgutil.iter_modules(runners.__path__)]


def find_cases(folder: Path, systems: list[str]) -> list[Case]:
    """Every case of these systems under ``folder``, by system and name."""
    found = []
    for system in systems:
        files = (folder / system).glob("*")
        stems = {file.stem for file in files if file.suffix in {".json", ".safetensors"}}
        found += [Case(system, stem, folder / system) for stem in sorted(stems)]
    return found


def run_case(case: Case) -> None:
    """Run a case with the runner its system chooses; a case of a kind nobody knows is a failure."""
    runner = importlib.import_module(f"{runners.__name__}.{case.system}").choose_runner(case)
    if runner is None:
        kind = case.spec.get("cls") or case.spec.get("fn") or "neither a class nor a function"
        pytest.fail(f"no runner for {case} ({kind})")
    runner(case)
