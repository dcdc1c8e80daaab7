"""What a second GPU brings, predicted: copies between the two, and a step of a stencil that is cut in two. No GPU is needed.

by_hand(H200, 1 << 30)                                # 20 ms: out of one GPU and into the other, chunk by chunk
step(H200, 16384, 16384).overlapped                   # 0.54 ms, where one GPU needs serial(H200, 16384, 16384) = 1.07 ms
"""

from dataclasses import dataclass

from parlab.cuda.pipeline_model import Pipeline, best_chunks, closed_form
from parlab.cuda.profiles import Profile

DOUBLE = 8  # bytes


@dataclass(frozen=True)
class Step:
    """Seconds of the parts of one step, on two GPUs that work at the same time.

    whole: sweep all rows of a half. inner: all but the edge, the row at the cut. trade: hand the edge over and take the other's.
    edge: sweep it, then trade. signal: tell each other that a step is done.
    """

    whole: float
    inner: float
    edge: float
    trade: float
    signal: float

    @property
    def in_turn(self) -> float:
        """Sweep all, then trade."""
        return self.whole + self.trade

    @property
    def overlapped(self) -> float:
        """Sweep the edge first and trade it while the rest is swept."""
        return max(self.inner, self.edge)

    @property
    def direct(self) -> float:
        """Read the other's edge where it is: nothing is traded but the word that it is there."""
        return self.whole + self.signal


def staged(profile: Profile, nbytes: int, both: bool = False) -> Pipeline:
    """Return the pipeline of a copy by way of the host: out of one GPU, then into the other, each over a link of its own.

    both: a second one goes the other way at the same time. There is no kernel between the copies, so the two handovers are half of one.
    """
    speed = profile.duplex if both else 1.0
    out, into = nbytes / (profile.d2h.rate * speed), nbytes / (profile.h2d.rate * speed)
    into_overhead, _, out_overhead = profile.staged
    return Pipeline(out, 0.0, into, overhead=(out_overhead, 0.0, into_overhead), handover=profile.handover / 2)


def chunks(profile: Profile, nbytes: int) -> int:
    """Return into how many chunks such a copy is best cut."""
    return max(1, round(best_chunks(staged(profile, nbytes))))


def by_hand(profile: Profile, nbytes: int, both: bool = False) -> float:
    """Return the seconds of such a copy, in the best number of chunks."""
    return closed_form(staged(profile, nbytes, both), chunks(profile, nbytes))


def serial(profile: Profile, rows: int, columns: int) -> float:
    """Return the seconds of a sweep on one GPU: each point (float64) is read once and written once, as a copy does."""
    return profile.overhead[1] + rows * columns * DOUBLE / profile.d2d.rate


def step(profile: Profile, rows: int, columns: int) -> Step:
    """Return the parts of a step on two GPUs, each with half of the rows."""
    half = -(-rows // 2)
    trade = profile.handover + profile.peer.seconds(columns * DOUBLE)
    return Step(
        whole=serial(profile, half, columns),
        inner=serial(profile, half - 1, columns),
        edge=serial(profile, 1, columns) + trade,
        trade=trade,
        signal=profile.handover,
    )
