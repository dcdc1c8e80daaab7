"""Gradient descent whose gradients are `delay` steps old, on a quadratic: up to which rate does it still converge?

    x[t + 1] = x[t] - rate * curvature * x[t - delay]

Only the product of the rate and the curvature matters; of a quadratic in many dimensions the steepest decides. That is what stale
gradients cost: a server with W equal workers sees gradients about W - 1 updates old, and the rate must be smaller by the ratio of limits.
"""

from math import pi, sin

STEPS = 4000  # of a trial; near the limit distances grow or shrink slowly
FAR = 1e6  # times the start: it will not come back


def limit(delay: int) -> float:
    """Return the rate times curvature below which the descent converges. Source: Levin and May, 1976, difference-delay equations."""
    return 2 * sin(pi / (2 * (2 * delay + 1)))


def diverges(product: float, delay: int) -> bool:
    """Descend from 1 with this rate times curvature; tell whether the distances of the second half grew over those of the first."""
    xs = [1.0] * (delay + 1)
    for t in range(STEPS):
        xs.append(xs[-1] - product * xs[t])
        if abs(xs[-1]) > FAR:
            return True
    early, late = xs[STEPS // 4 : STEPS // 2], xs[-STEPS // 4 :]  # the start is left out: it holds modes that die away
    return max(map(abs, late)) > max(map(abs, early))


def measured_limit(delay: int, halvings: int = 14) -> float:
    """Find the limit by bisection, to 2 / 2**halvings."""
    converges, too_much = 0.0, 2.5
    for _ in range(halvings):
        middle = (converges + too_much) / 2
        if diverges(middle, delay):
            too_much = middle
        else:
            converges = middle
    return (converges + too_much) / 2
