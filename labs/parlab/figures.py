"""Figures: numbers with their units, as documents and tables write them, and whether one is another one rounded."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

THOUSANDS = {"": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"}
SIZES = {  # by kind of number the units, and how much of the first one each is
    "s": {
        "s": "1",
        "ns": "1e-9",
        "us": "1e-6",
        "µs": "1e-6",
        "ms": "1e-3",
        "min": "60",
        "seconds": "1",
        "minutes": "60",
    }
    | {"秒": "1", "微秒": "1e-6", "毫秒": "1e-3", "分钟": "60"},
    "B": {f"{prefix}B": size for prefix, size in THOUSANDS.items()}
    | {f"{prefix}iB": str(1024**power) for power, prefix in enumerate("KMGT", 1)},
    "Hz": {f"{prefix}Hz": size for prefix, size in THOUSANDS.items()},
    "J": {"J": "1", "mJ": "1e-3", "kJ": "1e3"},
    "W": {"W": "1", "kW": "1e3"},
    "%": {"%": "1", "％": "1"},
    "": {"times": "1", "倍": "1", "": "1"},
}
UNITS = {unit: (kind, Decimal(size)) for kind, sizes in SIZES.items() for unit, size in sizes.items()}
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])[-+]?\d+(?:\.\d+)*(?:e[-+]?\d+)?")  # two in "3-4", none in "h200"
RATE = re.compile(r"([kMGT]?)([A-Za-z]+)/s")
WORDS = "|".join(sorted(filter(None, UNITS), key=len, reverse=True))
UNIT = re.compile(rf"\]?\s?({RATE.pattern}|(?:{WORDS})(?![A-Za-z/]))")
BETWEEN = re.compile(r"\s*(?:,|;|/|-|–|\+|\[|to|and|or|, and|到|至|和|、|，)\s*")  # in a list, a range, an interval


@dataclass(frozen=True)
class Figure:
    """A number that stands at `at` in a text. value: in the first unit of its kind; step: what its last digit counts.

    kind: "s", "B", "B/s", "%", ...; "" without a unit, "times" included; behind a ± "±%". counts: a whole number without a unit.
    """

    value: Decimal
    step: Decimal
    kind: str
    counts: bool
    text: str
    at: int

    def among(self, told: Mapping[str, Iterable[Decimal]]) -> bool:
        """Tell whether a number of its kind, rounded to as many digits, is this one; a tie may have gone either way."""
        return any(abs(value - self.value) <= self.step / 2 for value in told.get(self.kind, ()))


def scan(text: str) -> Iterator[Figure]:
    """Yield the numbers of a text, last first; in "157 to 164 %" and "1.02 [1.00, 1.05] s" all have the unit that stands last."""
    unit, follows = "", len(text)
    for found in reversed(list(NUMBER.finditer(text))):
        number, at, end = found[0], found.start(), found.end()
        if own := UNIT.match(text, end):
            unit = own[1]
        elif not BETWEEN.fullmatch(text, end, follows):
            unit = ""
        follows = at
        whole = not {".", "e"} & set(number)
        name = whole and not own and re.match("[A-Za-z_]", text[end : end + 1])  # "2nd"
        if name or number.count(".") > 1:  # or a version
            unit = ""
            continue
        sign = "±" if text[:at].endswith("±") else ""
        kind, size = _size(unit)
        step = Decimal(1).scaleb(int(Decimal(number).as_tuple().exponent)) * size
        yield Figure(
            Decimal(number) * size, step, sign + kind, whole and not unit, f"{sign}{number} {unit}".strip(), at
        )


def by_kind(figures: Iterable[Figure]) -> dict[str, set[Decimal]]:
    """Return the values of the figures of each kind."""
    values = defaultdict(set)
    for figure in figures:
        values[figure.kind].add(figure.value)
    return dict(values)


def _size(unit: str) -> tuple[str, Decimal]:
    """Return the kind of a unit, and how much of the first unit of that kind it is."""
    if rate := RATE.fullmatch(unit):
        return f"{rate[2]}/s", Decimal(THOUSANDS[rate[1]])
    return UNITS[unit]
