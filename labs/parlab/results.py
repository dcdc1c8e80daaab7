"""The file of a run: one JSON object a line, appended and flushed as measured, so that a killed run loses nothing."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parlab.errors import BadRequest, ParlabError
from parlab.records import (
    Comparison,
    Conclusion,
    Curve,
    Fault,
    Lanes,
    Limit,
    Measurement,
    Noise,
    Record,
    Row,
    Run,
    Skip,
)
from parlab.stats import Interval

VERSION = 1
FILE = "results.jsonl"


class Writer:
    """Appends records to DIR/results.jsonl. `begin` starts a new run."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE

    def begin(self, header: Mapping[str, Any]) -> None:
        """Start a new run in this folder; a folder holds one run. Raises BadRequest when that cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x"):
                pass
        except FileExistsError:
            raise BadRequest(f"{self.path.parent} already holds a run: name another folder for --out") from None
        except OSError as error:
            raise BadRequest(
                f"cannot write to {self.path.parent}: {error.strerror}; name another folder for --out"
            ) from None
        self._append({"run": dict(header)})

    def write(self, record: Record) -> None:
        """Append one record and hand it to the operating system before returning."""
        self._append(asdict(record))

    def _append(self, fields: dict[str, Any]) -> None:
        line = json.dumps({"v": VERSION, **_rounded(fields)}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            # Unbuffered: a buffer that could not be flushed would be tried again, and fail again, on close.
            with self.path.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    written = file.write(line)
                    if written < len(line):
                        raise OSError(28, os.strerror(28))
                except OSError:
                    file.truncate(before)  # half a line would make the lines after it unreadable
                    raise
        except OSError as error:
            raise ParlabError(f"cannot write {self.path}: {error.strerror}; the records before it are kept") from None


def latest() -> Path:
    """Return the folder of the latest run in results/. Raises BadRequest where there is none."""
    found = max(Path("results").glob(f"*/{FILE}"), default=None, key=lambda path: path.stat().st_mtime)
    if found is None:
        raise BadRequest("no run is recorded in results/: `parlab run all` makes one")
    return found.parent


def read(directory: Path, field: str = "") -> Run:
    """Read DIR/results.jsonl (or the file itself). Raises BadRequest where it is missing, of a newer version or damaged.

    field: read no records but those that have it, "sentence" for the conclusions: the samples are most of a file.
    """
    path = directory / FILE if directory.is_dir() else directory
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}; `parlab run ID --out DIR` makes one") from None
    header: dict[str, Any] = {}
    records: list[Record] = []
    note = None
    for number, line in enumerate(lines, 1):
        if number > 1 and field not in line:
            continue
        try:
            fields = json.loads(line)
            version = fields.pop("v")
            if version > VERSION:
                raise BadRequest(
                    f"{path} was written by a newer parlab (records v{version}, this one reads v{VERSION}): update parlab"
                )
            if "run" in fields:
                header = fields["run"]
            else:
                records.append(_record(fields))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            if number < len(lines):
                raise BadRequest(
                    f"{path}, line {number}, is not a parlab record: restore the file or run the lab again"
                ) from None
            note = f"{path}: the last line is cut (a run was ended while it wrote); the {len(records)} records before it are read"
    if not header:
        raise BadRequest(f"{path} has no run header: it is not a parlab results file")
    return Run(header, records, note)


KINDS: dict[str, type[Record]] = {  # by the one field that no other kind has
    "samples": Measurement,
    "ratio": Comparison,
    "sentence": Conclusion,
    "row": Row,
    "lanes": Lanes,
    "lines": Curve,
    "skipped": Skip,
    "fault": Fault,
    "noise_after": Noise,
}


def _record(fields: dict[str, Any]) -> Record:
    kind = next(kind for key, kind in KINDS.items() if key in fields)
    if kind is Lanes:
        fields["lanes"] = [
            (name, [(begin, end, label) for begin, end, label in spans]) for name, spans in fields["lanes"]
        ]
    if kind is Curve:
        fields["lines"] = {name: [tuple(point) for point in points] for name, points in fields["lines"].items()}
    for name in ("seconds", "ratio"):
        if name in fields:
            fields[name] = _interval(**fields[name])
    for name in ("bound", "prediction"):
        if fields.get(name):
            fields[name] = Limit(**fields[name])
    return kind(**fields)


def _interval(median: float | None, low: float | None, high: float | None, n: int) -> Interval:
    """Read null as it was written: no median, or no bound on a side."""
    return Interval(
        math.nan if median is None else median, -math.inf if low is None else low, math.inf if high is None else high, n
    )


def _rounded(value: Any) -> Any:
    """Keep six digits of a float (a clock has no more), and write an unbounded side of an interval as null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
