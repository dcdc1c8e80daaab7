"""How often to save: too seldom, and a failure costs many steps; too often, and saving does.

Failures are taken to come at random, at a constant rate, as often during a save or a restart as at other times. All times in one unit.
"""

from math import exp, expm1, sqrt

HOUR = 3600.0  # seconds

# Seconds between two failures of one GPU: a job on 16,384 of them was interrupted unexpectedly 419 times in 54 days.
# Source: Grattafiori et al., The Llama 3 Herd of Models, 2024, section 3.3.4.
GPU_FAILS = 16384 * 54 * 24 * HOUR / 419


def young(save: float, between: float) -> float:
    """Return the work to do between two saves. save: what one costs; between: the mean time between failures, far longer.

    Source: Young, A first order approximation to the optimum checkpoint interval, 1974.
    """
    return sqrt(2 * save * between)


def daly(save: float, between: float) -> float:
    """Return the same to a higher order, so that it also holds where failures come nearly as often as saves.

    Source: Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, 2006.
    """
    if save >= 2 * between:
        return between
    x = sqrt(save / (2 * between))
    return young(save, between) * (1 + x / 3 + x**2 / 9) - save


def lost(interval: float, save: float, restart: float, between: float) -> float:
    """Return the time that is lost to saves, restarts and repeated work, as a share of the time of the work itself.

    restart: from a failure until the work goes on. Source: Daly 2006, the exact expectation.
    """
    return between * exp(restart / between) * expm1((interval + save) / between) / interval - 1
