"""The labs there are, read from labs.toml, and whether each can run here."""

import importlib.util
import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from parlab.errors import BadRequest

# PARLAB_LABS: a folder with labs.toml and scripts of one's own
HERE = Path(os.environ.get("PARLAB_LABS") or Path(__file__).resolve().parent.parent).resolve()

RECORDED = Path(__file__).resolve().parents[2] / "reference"  # runs on named machines


@dataclass(frozen=True)
class Lab:
    """One lab as labs.toml describes it."""

    id: str
    topic: str
    question: str
    question_zh: str
    columns: str
    along: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    base: bool = False
    whole: bool = False
    layers: bool = False
    gpus: int = 0
    recorded: str = ""
    on_gpus: bool = False
    over_mpi: bool = False

    @property
    def script(self) -> Path:
        """The script of the lab."""
        return HERE / f"{self.id}.py"

    def wanted(self, workers: Iterable[int]) -> list[int]:
        """Return the numbers of workers to measure: those that make sense for the lab, and 1, the base of every scaling curve."""
        base = {1} if self.base else set()
        return sorted(base | {p for p in workers if not self.workers or p in self.workers})

    def missing(self) -> str | None:
        """Say why the lab cannot run on this machine; None when it can."""
        if "ranks" in self.needs:
            from parlab.launch import find_mpi

            try:
                find_mpi()
            except BadRequest as error:
                return str(error)
        if not {"processes", "torchrun"}.isdisjoint(self.needs) and importlib.util.find_spec("torch") is None:
            return "PyTorch is not installed: `make torch` installs it"
        if self.gpus:
            from parlab.gpus import missing

            return missing(self.gpus)
        return None


def _catalogue() -> dict[str, Any]:
    try:
        with (HERE / "labs.toml").open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise BadRequest(
            "the labs are not beside parlab: run it in a clone of the repository (pip install -e .)"
        ) from None


@cache
def labs() -> dict[str, Lab]:
    """Return all labs by id, in the order of the catalogue."""
    return {entry["id"]: Lab(**entry) for entry in _catalogue()["lab"]}


@cache
def topics() -> dict[str, str]:
    """Return what each topic is about."""
    return dict(_catalogue()["topics"])


@cache
def script(lab: str) -> ModuleType:
    """Return a lab's script as a module, for its words and its judge; nothing is measured."""
    spec = importlib.util.spec_from_file_location(f"{lab}_lab", labs()[lab].script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def select(names: Sequence[str]) -> list[Lab]:
    """Return the labs that are named, by id, by topic or by `all`; raises BadRequest for a name that is none of these."""
    found: dict[str, Lab] = {}
    for name in names:
        if name not in labs() and name not in topics() and name != "all":
            raise BadRequest(f"there is no lab or topic {name!r}: ask for all, {', '.join([*topics(), *labs()])}")
        found |= {lab.id: lab for lab in labs().values() if name in (lab.id, lab.topic, "all")}
    return list(found.values())
