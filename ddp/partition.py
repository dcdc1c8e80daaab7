"""Where to cut a chain of layers into stages: by their number, or so that the slowest stage is as fast as can be.

A cut is the list of the first layers of all stages but the first: [3, 5] cuts eight layers into 0 1 2, 3 4 and 5 6 7. A pipeline goes at
the pace of its slowest stage, so the best cut makes that one as short as possible; dynamic programming finds it without trying all cuts.
Source: Narayanan et al., PipeDream, SOSP 2019, section 3.1, without its replicated stages.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

Costs = Sequence[float]  # of each layer, in any unit that all share
NOTHING: Costs = ()


def equal_layers(layers: int, stages: int) -> list[int]:
    """Return the cut into stages of equally many layers; the first stages have one more where it does not divide."""
    _fitting(layers, stages)
    return list(accumulate(layers // stages + (stage < layers % stages) for stage in range(stages - 1)))


def best_cut(costs: Sequence[Costs], messages: Costs = NOTHING) -> list[int]:
    """Return the cut whose slowest stage is the fastest.

    costs[s][k]: what layer k costs on the device of stage s, so that a slow device gets fewer layers; [costs] * p for p that are alike.
    messages[k]: what each of its two stages pays for a message between layers k and k + 1; left out: nothing.
    ValueError where there are fewer layers than stages. Takes stages * layers**2 looks at a stage.
    """
    layers, stages = len(costs[0]), len(costs)
    _fitting(layers, stages)
    # best[end]: the slowest stage, and the cut, of the best way to put the layers before `end` on the stages so far
    best = {end: (_stage(costs[0], messages, 0, end), list[int]()) for end in range(1, layers + 1)}
    for stage in range(1, stages):
        best = {
            end: min(
                (max(best[first][0], _stage(costs[stage], messages, first, end)), [*best[first][1], first])
                for first in range(stage, end)
            )
            for end in range(stage + 1, layers + 1)
        }
    return best[layers][1]


def stage_costs(costs: Sequence[Costs], cut: Sequence[int], messages: Costs = NOTHING) -> list[float]:
    """Return what each stage of a cut costs: its layers on its device, and its messages. costs, messages: see best_cut."""
    ends = pairwise([0, *cut, len(costs[0])])
    return [_stage(mine, messages, first, end) for mine, (first, end) in zip(costs, ends, strict=True)]


def in_turn(first: Costs, then: Costs, copies: Costs) -> list[float]:
    """Return the time of a step on two devices that wait for each other, for each number of layers on the first: 0, 1 ... all.

    first, then: what each layer costs on either device. copies[k]: what the way between the devices costs where the first has k layers.
    """
    return [sum(first[:k]) + copies[k] + sum(then[k:]) for k in range(len(first) + 1)]


def _stage(costs: Costs, messages: Costs, first: int, end: int) -> float:
    ends = [k for k in (first, end) if messages and 0 < k < len(costs)]
    return sum(costs[first:end]) + sum(messages[k - 1] for k in ends)


def _fitting(layers: int, stages: int) -> None:
    if not 1 <= stages <= layers:
        raise ValueError(f"{layers} layers cannot be cut into {stages} stages: ask for 1 to {layers}")
