"""Bytes on the wire, counted twice: by the kernel, connection by connection, and by the program, call by call.

The kernel's count is what really went out, with the few bytes that gloo puts around each message; it is this process' own, whatever
others do on the machine. The program's count is exact, and works for NCCL too, whose tensors do not pass through the kernel.
"""

import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _resolve_process_group  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode

BYTES_ACKED = 120  # offset of tcpi_bytes_acked in Linux' struct tcp_info (include/uapi/linux/tcp.h), 8 bytes


def sent() -> int:
    """Return the bytes that this process has sent over all TCP connections that are open now, and that have arrived."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.type == socket.SOCK_STREAM and connection.family in (socket.AF_INET, socket.AF_INET6):
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += struct.unpack_from("=Q", info, BYTES_ACKED)[0]
        except OSError:  # closed since it was listed, or only listening
            continue
    return total


def ring_all_reduce(p: int, nbytes: int) -> float:
    """Return what each of p workers sends in an all-reduce of so many bytes, at least. Source: Patarasuk and Yuan, 2009."""
    return 2 * (p - 1) / p * nbytes


def ring_half(p: int, nbytes: int) -> float:
    """Return what each of p workers sends in a reduce-scatter of so many bytes, or an all-gather to so many, at least."""
    return (p - 1) / p * nbytes


def whole(p: int, nbytes: int) -> float:
    """Return what a sender sends."""
    return nbytes


# By the operator's name: what it does, which argument holds the bytes that the law speaks of, and the law; of a broadcast the mean.
LAWS: dict[str, tuple[str, int, Callable[[int, int], float]]] = {
    "allreduce_": ("all-reduce", 0, ring_all_reduce),
    "all_reduce": ("all-reduce", 0, ring_all_reduce),
    "all_reduce_": ("all-reduce", 0, ring_all_reduce),
    "_reduce_scatter_base_": ("reduce-scatter", 1, ring_half),
    "reduce_scatter_": ("reduce-scatter", 1, ring_half),
    "reduce_scatter_tensor": ("reduce-scatter", 0, ring_half),
    "_allgather_base_": ("all-gather", 0, ring_half),
    "allgather_": ("all-gather", 0, ring_half),
    "all_gather_into_tensor": ("all-gather", -1, ring_half),  # the result is not among the arguments
    "alltoall_base_": ("all-to-all", 1, ring_half),
    "broadcast_": ("broadcast", 0, ring_half),
    "send": ("send", 0, whole),
    "isend": ("send", 0, whole),
}


class Calls(TorchDispatchMode):
    """Counts the collectives that are called while it is entered: how often, and the bytes that the law lets each worker send.

    It sees what torch's own wrappers call too. calls, bytes: by what was called.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()
        self.bytes: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Return the bytes of all calls."""
        return sum(self.bytes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Be called by torch for every operator."""
        if func.namespace in ("c10d", "_c10d_functional") and (known := LAWS.get(func._schema.name.split("::")[1])):
            kind, where, law = known
            p = _group(func, args).size()
            nbytes = sum(t.nbytes for t in _tensors(args[max(where, 0)])) * (p if where < 0 else 1)
            self.calls[kind] += 1
            self.bytes[kind] = self.bytes.get(kind, 0) + law(p, nbytes)
        return func(*args, **(kwargs or {}))


def sent_in(run: Callable[[], object], group: dist.ProcessGroup, on_gpus: bool) -> float:
    """Return the bytes that this worker sends in a run of all workers: as the kernel counts them, of GPUs as the calls say."""
    if on_gpus:
        with Calls() as calls:
            run()
        return float(calls.total)
    dist.all_reduce(torch.zeros(1), group=group)
    before = sent()
    run()
    dist.all_reduce(torch.zeros(1), group=group)  # what was sent has arrived
    return sent() - before


def _tensors(argument: Any) -> Iterator[Tensor]:
    """Yield the tensors of an argument: one, a list, or lists of a list."""
    if isinstance(argument, Tensor):
        yield argument
    else:
        for part in argument:
            yield from _tensors(part)


def _group(func: Any, args: Any) -> dist.ProcessGroup:
    """Find the process group among the arguments: an object of c10d's operators, a name of the functional ones."""
    for argument, declared in zip(args, func._schema.arguments, strict=False):
        if declared.name == "process_group":
            return dist.ProcessGroup.unbox(argument)
        if declared.name == "group_name":
            return _resolve_process_group(argument)
    raise LookupError(f"{func} names no group")
