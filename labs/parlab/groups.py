"""How records belong together when they are shown: a group is what one table holds, or one panel of a picture."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parlab import units
from parlab.bench import AGAIN
from parlab.catalogue import Lab
from parlab.records import PROOF, Case, Comparison, Measurement, Record
from parlab.scaling import speed_up
from parlab.stats import Interval

Verdicts = dict[tuple[str, int], Comparison]  # by case and number of workers


@dataclass(frozen=True)
class Group:
    """Measurements that share all parameters but the one of the columns and the one that is swept.

    shape: "sweep": times along a parameter; "scaling": speed-up over the workers against a serial program; "bars": times side by side.
    """

    title: str
    shape: Literal["sweep", "scaling", "bars"]
    along: str
    columns: str
    measured: list[Measurement]

    def name(self, m: Measurement) -> str:
        """Return the name of the measurement's case within the group."""
        return str(m.case[self.columns])

    def at(self, m: Measurement) -> float:
        """Return the value of the swept parameter."""
        return float(m.case.get(self.along, 0))

    def tick(self, value: float) -> str:
        """Write a value of the swept parameter."""
        return units.nbytes(value) if self.along.endswith("bytes") else f"{value:g}"

    @property
    def axis(self) -> str:
        """Return what stands at the axis of the swept parameter."""
        name, _, unit = self.along.rpartition("_")
        return {"bytes": f"{name} size".strip(), "us": f"{name}, us"}.get(unit, self.along.replace("_", " "))

    def serial(self, workers: int) -> Measurement:
        """Return the serial program that was measured beside this number of workers, else the one beside the fewest."""
        found = sorted((m for m in self.measured if self.name(m) == "serial"), key=lambda m: m.workers)
        return next((m for m in found if m.workers == workers), found[0])

    def speed_up(self, m: Measurement) -> Interval:
        """Return the speed-up of a measurement against the serial program; where the work grows, against as many shares of it."""
        return speed_up(np.array(self.serial(m.workers).samples) * (m.workers if self.weak else 1), m.samples)

    @property
    def weak(self) -> bool:
        """Whether the work grows with the workers; the serial program then does the share of one."""
        return self.measured[0].case.get("scaling") == "weak"


def groups(lab: Lab, records: list[Record]) -> list[Group]:
    """Put the measurements of a lab into groups, in the order in which they were made; proofs and controls are left out."""
    shown = [
        m
        for m in records
        if isinstance(m, Measurement) and PROOF not in m.case and not str(m.case[lab.columns]).endswith(AGAIN)
    ]
    several = len({m.kind for m in shown}) > 1
    found: dict[str, list[Measurement]] = defaultdict(list)
    for m in shown:
        told = [parameter(key, value) for key, value in m.case.items() if key not in (lab.columns, *lab.along)]
        found[", ".join([*([f"on {m.kind}"] if several else []), *told])].append(m)
    return [_group(lab, title, measured) for title, measured in found.items()]


def _group(lab: Lab, title: str, measured: list[Measurement]) -> Group:
    values = {name: {m.case[name] for m in measured if name in m.case} for name in lab.along}
    along = next((name for name, found in values.items() if len(found) > 1), "")
    fixed = [parameter(name, value) for name, found in values.items() if len(found) == 1 for value in found]
    title = ", ".join(filter(None, [title, *fixed]))  # a sweep of one value is none
    based = any(m.case[lab.columns] == "serial" for m in measured)
    return Group(title, "sweep" if along else "scaling" if based else "bars", along, lab.columns, measured)


def parameter(name: str, value: str | int | float) -> str:
    """Write a parameter of a case with its unit."""
    what, _, unit = name.rpartition("_")
    told = {"bytes": units.nbytes(float(value)), "us": f"{value} us"}.get(unit) if not isinstance(value, str) else None
    return f"{what} {told}".strip() if told else f"{name.replace('_', ' ')} {value}"


def verdicts(records: list[Record]) -> Verdicts:
    """Return what the comparisons say of each case."""
    return {(key(r.faster), r.workers): r for r in records if isinstance(r, Comparison)}


def key(case: Case) -> str:
    """Return a case as one word, whatever the order of its parameters."""
    return repr(sorted(case.items()))
