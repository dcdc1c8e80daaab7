"""Every hand-written collective: the result, the input left alone, and exactly the messages of its closed form."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi4py import MPI

from parlab.mpi import allreduce
from parlab.mpi.buffers import Array, edges
from parlab.mpi.collectives import COLLECTIVES
from parlab.mpi.costmodel import Call
from parlab.mpi.costs import COSTS
from parlab.mpi.counting import Counting
from parlab.mpi.operation import MATMUL, MATRIX, MAX, SUM, Op

WORLD: MPI.Intracomm = MPI.COMM_WORLD
KEYS = [(operation, algorithm) for operation, named in COLLECTIVES.items() for algorithm in named]
ROOTED = {"bcast", "scatter", "gather", "reduce"}
REDUCING = {"reduce", "allreduce", "reduce_scatter", "scan"}
COMMUTATIVE_ONLY = {("allreduce", "ring"), ("reduce_scatter", "ring")}
PARTITIONS = ((8,), (7, 1), (6, 2), (5, 3), (4, 4))  # of 8 ranks, so that one launch tests every p from 1 to 8


@dataclass(frozen=True)
class Case:
    count: int
    dtype: str = "float64"
    op: Op = SUM
    root: int = 0
    in_place: bool = False
    counts: tuple[int, ...] | None = None


def inputs(case: Case, *shape: int) -> Array:
    """The same small whole numbers on every rank, so that each knows all inputs and every result is exact."""
    random = np.random.default_rng(case.count)
    shape = (*shape, case.count, *((2, 2) if case.op is MATMUL else ()))
    x = random.integers(-2, 3, shape)
    return (x + 1j * random.integers(-2, 3, shape) if case.dtype == "complex128" else x).astype(case.dtype)


def poison(like: Array) -> Array:
    return np.full_like(like, -(2**62) if like.dtype.kind == "i" else np.nan)


def combined(op: Op, arrays: Array) -> Array:
    """All arrays combined in rank order, one after the other, by NumPy."""
    together = {"sum": np.add, "max": np.maximum}.get(op.name, np.matmul)
    return functools.reduce(together, arrays[1:], arrays[0])


def same(got: Array, want: Array) -> None:
    np.testing.assert_array_equal(got, want, strict=True)


# One function for each operation: call `algorithm` on this case and check what it wrote, and what it must not write.


def check_bcast(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    want = inputs(case)
    x = want.copy() if comm.rank == case.root else poison(want)
    algorithm(comm, x, case.root)
    same(x, want)


def check_scatter(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    blocks = inputs(case, comm.size)
    send, recv = blocks.copy() if comm.rank == case.root else None, poison(blocks[0])
    if case.in_place and send is not None:
        algorithm(comm, send, MPI.IN_PLACE, case.root)
    else:
        algorithm(comm, send, recv, case.root)
        same(recv, blocks[comm.rank])
    if send is not None:
        same(send, blocks)


def check_gather(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    blocks = inputs(case, comm.size)
    send, recv = blocks[comm.rank].copy(), poison(blocks) if comm.rank == case.root else None
    if case.in_place and recv is not None:
        recv[case.root] = send
        algorithm(comm, MPI.IN_PLACE, recv, case.root)
    else:
        algorithm(comm, send, recv, case.root)
    same(send, blocks[comm.rank])
    if recv is not None:
        same(recv, blocks)


def check_allgather(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    blocks = inputs(case, comm.size)
    send, recv = blocks[comm.rank].copy(), poison(blocks)
    if case.in_place:
        recv[comm.rank] = send
    algorithm(comm, MPI.IN_PLACE if case.in_place else send, recv)
    same(send, blocks[comm.rank])
    same(recv, blocks)


def check_reduce(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    arrays = inputs(case, comm.size)
    send, recv = arrays[comm.rank].copy(), poison(arrays[0]) if comm.rank == case.root else None
    if case.in_place and recv is not None:
        recv[...] = send
        algorithm(comm, MPI.IN_PLACE, recv, case.op, case.root)
    else:
        algorithm(comm, send, recv, case.op, case.root)
    same(send, arrays[comm.rank])
    if recv is not None:
        same(recv, combined(case.op, arrays))


def check_allreduce(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    arrays = inputs(case, comm.size)
    send = arrays[comm.rank].copy()
    recv = send.copy() if case.in_place else poison(send)
    algorithm(comm, MPI.IN_PLACE if case.in_place else send, recv, case.op)
    same(send, arrays[comm.rank])
    same(recv, combined(case.op, arrays))


def check_reduce_scatter(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    arrays = inputs(case, comm.size)
    start = edges(case.count, comm.size) if case.counts is None else np.cumsum((0, *case.counts))
    want = combined(case.op, arrays)[start[comm.rank] : start[comm.rank + 1]]
    send = arrays[comm.rank].copy()
    recv = send.copy() if case.in_place else poison(want)
    algorithm(comm, MPI.IN_PLACE if case.in_place else send, recv, case.op, case.counts)
    same(send, arrays[comm.rank])
    same(recv[: len(want)], want)


def check_scan(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    arrays = inputs(case, comm.size)
    send = arrays[comm.rank].copy()
    recv = send.copy() if case.in_place else poison(send)
    algorithm(comm, MPI.IN_PLACE if case.in_place else send, recv, case.op)
    same(send, arrays[comm.rank])
    same(recv, combined(case.op, arrays[: comm.rank + 1]))


def check_alltoall(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    blocks = inputs(case, comm.size, comm.size)
    send = blocks[comm.rank].copy()
    recv = send.copy() if case.in_place else poison(send)
    algorithm(comm, MPI.IN_PLACE if case.in_place else send, recv)
    same(send, blocks[comm.rank])
    same(recv, blocks[:, comm.rank])


def check_barrier(algorithm: Callable[..., None], comm: MPI.Intracomm, case: Case) -> None:
    algorithm(comm)  # test_barrier_holds_everyone checks what it does


CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}


def check(key: tuple[str, str], comm: MPI.Intracomm, case: Case, algorithm: Callable[..., None] | None = None) -> None:
    """Run one case of one algorithm (or of a mutant in its place); check the result and the messages sent."""
    operation, name = key
    counting = Counting(comm)
    CHECKS[operation](algorithm or COLLECTIVES[operation][name], counting, case)
    itemsize = inputs(replace(case, count=1)).nbytes
    call = Call(comm.size, case.count, itemsize, case.root, case.op.commutative, case.counts)
    assert (counting.messages, counting.bytes) == COSTS[key].sent(call, comm.rank), (key, case)


def cases(key: tuple[str, str], p: int) -> Iterator[Case]:
    """Every count, every root, every type with every operation, long messages, uneven blocks: each in place and not."""
    roots = range(p) if key[0] in ROOTED else range(1)
    ops = [SUM, MATMUL] if key[0] in REDUCING and key not in COMMUTATIVE_ONLY else [SUM]
    for in_place in (False, True):
        for op in ops:
            for count in (0, 1, 29, 3001):  # the last is too long for MPI to buffer: the sender waits for the receiver
                yield Case(count, "float64", op, roots[-1], in_place)
            for root in roots:
                yield Case(7, "float64", op, root, in_place)
        for dtype, op in product(("float32", "int64", "complex128"), (*ops, MAX)):
            if not (dtype == "complex128" and op is MAX):
                yield Case(13, dtype, op, roots[0], in_place)
        if key[0] == "reduce_scatter":
            for op, counts in product(ops, (tuple(range(p)), (0,) * (p - 1) + (7,))):
                yield Case(sum(counts), "int64", op, 0, in_place, counts)


@pytest.mark.ranks(8)
def test_results_and_messages() -> None:
    for sizes in PARTITIONS:
        group = sum(WORLD.rank >= end for end in accumulate(sizes))
        comm = MPI.Intracomm(WORLD.Split(group))
        assert comm.size == sizes[group]
        for key in KEYS:
            for case in cases(key, comm.size):
                try:
                    check(key, comm, case)
                except Exception as fault:
                    fault.add_note(f"{key} {case} rank {comm.rank} of {comm.size}")
                    raise


@pytest.mark.ranks(8)
def test_any_case_on_any_number_of_ranks() -> None:
    """Hypothesis draws the same cases on all ranks; all learn of a fault, so that all go on with the same next case."""
    first = {p: MPI.Intracomm(WORLD.Split(WORLD.rank < p, WORLD.rank)) for p in range(1, 9)}

    @settings(derandomize=True, database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
    @given(
        p=st.integers(1, 8),
        key=st.sampled_from(KEYS),
        count=st.integers(0, 200),
        dtype=st.sampled_from(["float32", "float64", "int64", "complex128"]),
        op=st.sampled_from([SUM, MAX, MATMUL]),
        root=st.integers(0, 7),
        in_place=st.booleans(),
    )
    def one(p: int, key: tuple[str, str], count: int, dtype: str, op: Op, root: int, in_place: bool) -> None:
        if (
            key[0] not in REDUCING
            or (op is MAX and dtype == "complex128")
            or (op is MATMUL and key in COMMUTATIVE_ONLY)
        ):
            op = SUM
        case = Case(count, dtype, op, root % p if key[0] in ROOTED else 0, in_place)
        fault = ""
        try:
            if WORLD.rank < p:
                check(key, first[p], case)
        except AssertionError as error:
            fault = f"rank {WORLD.rank}: {error}"
        faults = [f for f in WORLD.allgather(fault) if f]
        assert not faults, faults

    one()


@pytest.mark.ranks(3)
def test_the_library_agrees_through_op_mpi() -> None:
    """Op.mpi is the same operation: MPI's own collectives give what ours give, in the ranks' order too."""
    for op, datatype in ((SUM, MPI.INT64_T), (MAX, MPI.INT64_T), (MATMUL, MATRIX)):
        arrays = inputs(Case(6, "int64", op), WORLD.size)
        x, y = arrays[WORLD.rank], poison(arrays[0])
        ours = np.empty_like(x)
        WORLD.Allreduce([x, len(x), datatype], [y, len(y), datatype], op.mpi)
        allreduce.recursive_doubling(WORLD, x, ours, op)
        same(ours, y)
        WORLD.Scan([x, len(x), datatype], [y, len(y), datatype], op.mpi)
        COLLECTIVES["scan"]["recursive_doubling"](WORLD, x, ours, op)
        same(ours, y)


@pytest.mark.ranks(3)
def test_what_cannot_be_done_is_refused_before_any_message() -> None:
    x = inputs(Case(4, "int64", MATMUL))
    for operation, name in sorted(COMMUTATIVE_ONLY):
        counting = Counting(WORLD)
        with pytest.raises(ValueError, match=r"ring .* does not combine in rank order, .* 'matmul' is not commutative"):
            COLLECTIVES[operation][name](counting, x, np.empty_like(x), MATMUL)
        assert counting.messages == 0

    x = np.ones(6)
    for name in COLLECTIVES["reduce_scatter"]:
        for counts in ((2, 2), (2, 2, 3)):
            with pytest.raises(ValueError, match=r"do not cut 6 elements into 3 blocks"):
                COLLECTIVES["reduce_scatter"][name](WORLD, x, np.empty_like(x), SUM, counts)


@pytest.mark.ranks(3)
def test_barrier_holds_everyone() -> None:
    """Each rank in turn comes late; what it wrote before the barrier must be seen by all after it."""
    window = MPI.Win.Allocate_shared(WORLD.rank == 0, comm=WORLD)
    late = window.Shared_query(0)[0]  # one byte, the same for all
    late[0] = WORLD.size
    WORLD.Barrier()
    for rank in range(WORLD.size):
        if rank == WORLD.rank:
            time.sleep(0.02)
            late[0] = rank
        COLLECTIVES["barrier"]["dissemination"](WORLD)
        assert late[0] == rank
        WORLD.Barrier()  # so that the next does not write before all have read
    window.Free()


@pytest.mark.ranks(2)
def test_the_checks_catch_mutants() -> None:
    """A wrong order, an element left out, an input overwritten, a message too many: each is a failure on every rank."""
    swapped = replace(MATMUL, combine=lambda left, right, /, out: np.matmul(right, left, out=out))

    def wrong_order(comm: MPI.Intracomm, send: Array, recv: Array, op: Op) -> None:
        allreduce.rabenseifner(comm, send, recv, swapped)

    def last_left_out(comm: MPI.Intracomm, send: Array, recv: Array, op: Op) -> None:
        allreduce.ring(comm, send[:-1], recv[:-1], op)

    def input_overwritten(comm: MPI.Intracomm, send: Array, recv: Array, op: Op) -> None:
        allreduce.recursive_doubling(comm, send, recv, op)
        send[...] = recv

    def message_too_many(comm: MPI.Intracomm, send: Array, recv: Array, op: Op) -> None:
        allreduce.recursive_doubling(comm, send, recv, op)
        comm.Sendrecv(send[:0], comm.rank ^ 1, recvbuf=recv[:0], source=comm.rank ^ 1)

    for name, mutant, op in (
        ("rabenseifner", wrong_order, MATMUL),
        ("ring", last_left_out, SUM),
        ("recursive_doubling", input_overwritten, SUM),
        ("recursive_doubling", message_too_many, SUM),
    ):
        with pytest.raises(AssertionError):
            check(("allreduce", name), WORLD, Case(6, "int64", op), mutant)
