"""What is known of a GPU that is not here: the figures of a named device, for predictions. No GPU is needed.

Every figure is that of a run recorded in reference/, named in `recorded`; the tests hold them to it. A prediction made of them is
labelled with the device's name: it was not measured here.
"""

from dataclasses import dataclass

from parlab.cuda.pipeline_model import Pipeline


@dataclass(frozen=True)
class Link:
    """A way for data: T(n) = latency + n / rate (Hockney). latency in seconds, rate in bytes per second."""

    latency: float
    rate: float

    def seconds(self, nbytes: float) -> float:
        """Return the time of one copy."""
        return self.latency + nbytes / self.rate


@dataclass(frozen=True)
class Profile:
    """One GPU and its link to the host.

    h2d, d2h: pinned; pageable_h2d, pageable_d2h: from and to ordinary memory; d2d: within the GPU (bytes copied, not read plus written);
    peer: to another GPU; packing: on the host, by NumPy, piece after piece. duplex: speed of a copy while one goes the other way.
    overhead: seconds for which each chunk holds the engines of h2d, kernel and d2h where each has the machine for itself; in_turns: where
    an engine goes from stream to stream with every chunk; staged: where each stage has its stream, and an event after every chunk.
    handover: seconds between the stages of a chunk. issue: seconds the host needs to issue a copy, a kernel, a copy; plain: an operation
    of CuPy; graph: to launch a graph. gap: seconds from kernel to kernel of one stream, beyond their work. sync: to find a stream idle.
    threads: that run at a time.
    """

    name: str
    recorded: str
    h2d: Link
    d2h: Link
    pageable_h2d: Link
    pageable_d2h: Link
    d2d: Link
    peer: Link
    packing: Link
    duplex: float
    overhead: tuple[float, float, float]
    in_turns: tuple[float, float, float]
    staged: tuple[float, float, float]
    handover: float
    issue: tuple[float, float, float]
    plain: float
    graph: float
    gap: float
    sync: float
    threads: int

    def pipeline(self, nbytes: int, kernel: float) -> Pipeline:
        """Return the pipeline of a problem with so many bytes in and out, and a kernel of so many seconds."""
        copies = nbytes / self.h2d.rate, nbytes / self.d2h.rate
        return Pipeline(
            copies[0],
            kernel,
            copies[1],
            overhead=self.overhead,
            handover=self.handover,
            duplex=self.duplex,
            issue=self.issue,
        )


H200 = Profile(
    name="NVIDIA H200, PCIe 5 x 16",
    recorded="h200-cuda",
    h2d=Link(2.63e-6, 55.3e9),
    d2h=Link(1.61e-6, 55.3e9),
    pageable_h2d=Link(8.3e-6, 8.9e9),
    pageable_d2h=Link(10.2e-6, 16.3e9),
    d2d=Link(1.85e-6, 2.11e12),
    peer=Link(8.5e-6, 395e9),
    packing=Link(0.32e-6, 8.5e9),
    duplex=0.918,
    overhead=(2.56e-6, 4.07e-6, 1.86e-6),
    in_turns=(6.06e-6, 0.0, 6.06e-6),
    staged=(4.04e-6, 3.97e-6, 4.04e-6),
    handover=4.08e-6,
    issue=(5.2e-6, 5.2e-6, 5.2e-6),
    plain=8.4e-6,
    graph=1.96e-6,
    gap=2.3e-6,
    sync=2.1e-6,
    threads=132 * 2048,
)
