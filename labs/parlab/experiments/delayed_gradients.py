"""Up to which rate gradients that miss updates converge: by trying, and by theory (ddp/staleness.py)."""

from collections.abc import Iterator, Sequence

from parlab.bench import Bench
from parlab.ddp import staleness
from parlab.predictions import Verdict
from parlab.records import Curve, Record

DELAYS = (0, 1, 2, 3, 7)
LIMIT = "limit of delayed gradients"  # the picture
EXACT = 0.01  # goal


def measure(bench: Bench) -> None:
    """Measure the limit for each delay; needs no team."""
    if not bench.first:
        return
    found = {delay: staleness.measured_limit(delay) for delay in DELAYS}
    for delay, product in found.items():
        bench.row(
            {
                "updates missed": str(delay),
                "largest rate x curvature": f"{product:.4f}",
                "theory": f"{staleness.limit(delay):.4f}",
                "off": f"{product / staleness.limit(delay) - 1:+.2%}",
            }
        )
    lines: dict[str, list[tuple[float, ...]]] = {"measured": [(d, x, x, x) for d, x in found.items()]}
    lines["theory"] = [(d, staleness.limit(d)) for d in DELAYS]
    bench.curve(LIMIT, "updates that gradients miss", "largest rate x curvature that converges", lines, logy=True)


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say how near the theory is."""
    for picture in (r for r in records if isinstance(r, Curve) and r.title == LIMIT):
        yield how_limited(picture)


def how_limited(picture: Curve) -> Verdict:
    """Hold the limit of delayed gradients against the theory."""
    theory = {point[0]: point[1] for point in picture.lines["theory"]}
    off = {delay: s.median / theory[delay] - 1 for delay, s in picture.measured("measured").items()}
    worst = max(off, key=lambda delay: abs(off[delay]))
    told = ", ".join(f"{s.median:.4f}" for s in picture.measured("measured").values())
    told = f"largest rate x curvature with gradients that miss {', '.join(f'{d:g}' for d in off)} updates: {told}; "
    return told + f"theory is missed by {abs(off[worst]):.2%} at most (goal: {EXACT:.0%})", abs(off[worst]) <= EXACT
