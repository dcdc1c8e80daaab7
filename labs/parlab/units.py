"""Numbers with units as people read them."""

from parlab.stats import Interval


def seconds(value: float) -> str:
    """Write a time in the unit that leaves one to three digits before the point."""
    for factor, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= 0.9995 * factor:  # what would be written as 1e+03 of the next smaller unit
            return f"{value / factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def clock(value: float) -> str:
    """Write a duration in seconds as people read a clock: 0:07, 5:40, 1:02:03."""
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, what: str) -> str:
    """Write how many there are of something; `what` is its plural."""
    one = "process" if what == "processes" else what.removesuffix("s")
    return f"{number} {one if number == 1 else what}"


def interval(value: Interval) -> str:
    """Write a time with half the width of its interval."""
    return f"{seconds(value.median)} {spread(value)}"


def spread(value: Interval) -> str:
    """Write half the width of an interval, in per cent of the median."""
    return f"±{value.half_width_relative:.0%}" if value.half_width_relative < 10 else "±?"


def span(value: Interval, digits: int = 2) -> str:
    """Write a number without a unit with its interval."""
    if not (value.low > -1e300 and value.high < 1e300):
        return f"{value.median:.{digits}f} [?]"
    return f"{value.median:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def nbytes(value: float) -> str:
    """Write a number of bytes in binary units."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.0f} B"


def rate(amount: float, unit: str, duration: float) -> str:
    """Write bytes or flops per second in decimal units."""
    value = amount / duration
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}/s"
    return f"{value:.3g} {unit}/s"
