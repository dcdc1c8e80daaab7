"""Many small copies or one packed copy: lines over the size of a piece, and where they cross. No GPU is needed.

    one, packed = one_by_one(H200, 1024), packed_by_host(H200, 1024)
    meeting(one, packed)             # the size in bytes from which on packing does not pay

One by one, m copies of b bytes take m (l + b / B), where l is the latency of a copy or the host's time to issue one, whichever is longer.
Packed they take m (p + b / P) on the host, where p is what it costs to begin a piece and P its copying rate, then one latency and m b / B,
then a kernel, which reads and writes m b once. Both are lines in b. They cross near b = P (l - p): the latency that a copy saves, spent
on copying by the host.
"""

from math import inf

from parlab.cuda.profiles import Link, Profile


def one_by_one(profile: Profile, copies: int) -> Link:
    """Return the time of so many copies to the GPU, issued one after the other, by the bytes of each."""
    each = max(profile.h2d.latency, profile.issue[0])
    return Link(copies * each + profile.sync, profile.h2d.rate / copies)


def packed_by_host(profile: Profile, copies: int) -> Link:
    """Return the time of packing so many pieces, of one copy to the GPU, and of the kernel that unpacks them, by the bytes of each."""
    once = profile.h2d.latency + profile.overhead[1] + profile.sync
    rate = 1 / (1 / profile.packing.rate + 1 / profile.h2d.rate + 1 / profile.d2d.rate)
    return Link(copies * profile.packing.latency + once, rate / copies)


def through(first: tuple[float, float], last: tuple[float, float]) -> Link:
    """Return the line through two points (bytes, seconds); it neither falls nor begins below 0."""
    (low, short), (high, long) = sorted((first, last))
    slope = max(0.0, (long - short) / (high - low))
    return Link(max(0.0, short - slope * low), 1 / slope if slope else inf)


def meeting(one: Link, packed: Link) -> float | None:
    """Return the bytes of a piece from which on packing does not pay; None where it never pays, or always."""
    saved, paid = one.latency - packed.latency, 1 / packed.rate - 1 / one.rate
    return saved / paid if saved > 0 and paid > 0 else None
