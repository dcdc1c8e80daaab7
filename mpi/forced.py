"""The library's own collective with an algorithm of our choice, so that a hand-written ring meets the library's ring.

Open MPI's component `tuned` holds the classical algorithms. Whenever a communicator is made it reads from control
variables which one to use; a running program can set them through the tool interface MPI_T (MPI standard, chapter
"Tool Support"), which mpi4py does not wrap.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, byref, c_char_p, c_int, c_void_p, create_string_buffer

from mpi4py import MPI

# operation -> the hand-written algorithm -> its name in Open MPI, as in `ompi_info --param coll tuned --level 9`
TUNED = {
    "bcast": {"linear": "basic_linear", "binomial": "binomial", "scatter_allgather": "scatter_allgather_ring"},
    "scatter": {"binomial": "binomial"},
    "gather": {"binomial": "binomial"},
    "allgather": {"ring": "ring", "recursive_doubling": "recursive_doubling", "bruck": "bruck"},
    "reduce": {"binomial": "binomial"},
    "allreduce": {
        "reduce_bcast": "nonoverlapping",
        "recursive_doubling": "recursive_doubling",
        "ring": "ring",
        "rabenseifner": "rabenseifner",
    },
    "reduce_scatter": {"ring": "ring"},
    "alltoall": {"pairwise": "pairwise", "bruck": "modified_bruck"},
    "barrier": {"dissemination": "bruck"},
}
RULES = "coll_tuned_use_dynamic_rules"  # without it `tuned` does not look at the choices


def forced(comm: MPI.Intracomm, operation: str, algorithm: str) -> MPI.Intracomm:
    """Return a duplicate of comm whose `operation` the library does by `algorithm`; other communicators stay unchanged.

    operation, algorithm: as in TUNED.  Collective; the caller frees the duplicate.
    On several nodes start with OMPI_MCA_coll=^han, or Open MPI's component `han` takes the operation from `tuned`.
    LookupError on every rank if the library is not Open MPI, or has no such algorithm, or does not let us choose:
    before open-mpi/ompi#12593 was solved (4.1.4 is such) start with OMPI_MCA_coll_tuned_use_dynamic_rules=1.
    """
    if MPI.get_vendor()[0] != "Open MPI":
        raise LookupError(f"{MPI.get_vendor()[0]} does not let a program choose its algorithms by name")
    try:
        name = TUNED[operation][algorithm]
    except KeyError:
        raise LookupError(f"no {operation} by {algorithm} is known to be in Open MPI") from None
    mpi = CDLL(MPI.__file__)  # symbols are looked up in the library that mpi4py is linked with, wherever it lies
    _check(mpi.MPI_T_init_thread(MPI.THREAD_SINGLE, byref(c_int())))
    try:
        choice = f"coll_tuned_{operation}_algorithm"
        with _written(mpi, choice, _value(mpi, choice, name)), _written(mpi, RULES, 1):
            return comm.Dup()
    finally:
        mpi.MPI_T_finalize()


def _check(error: int) -> None:
    if error != MPI.SUCCESS:
        raise LookupError(f"the tool interface of {MPI.get_vendor()[0]} refuses: error {error}")


def _index(mpi: CDLL, variable: str) -> c_int:
    index = c_int()
    if mpi.MPI_T_cvar_get_index(variable.encode(), byref(index)) != MPI.SUCCESS:
        raise LookupError(f"{MPI.get_vendor()[0]} has no control variable {variable}")
    return index


def _value(mpi: CDLL, variable: str, name: str) -> int:
    """Return the number that stands for `name` in the variable's enumeration."""
    enum, items, value, text, length = c_void_p(), c_int(), c_int(), create_string_buffer(256), c_int()
    null = c_char_p()
    _check(mpi.MPI_T_cvar_get_info(_index(mpi, variable), null, null, null, null, byref(enum), null, null, null, null))
    _check(mpi.MPI_T_enum_get_info(enum, byref(items), null, null))
    for item in range(items.value):
        length.value = len(text)
        _check(mpi.MPI_T_enum_get_item(enum, item, byref(value), text, byref(length)))
        if text.value.decode() == name:
            return value.value
    raise LookupError(f"{MPI.get_vendor()[0]} has no algorithm {name}")


@contextmanager
def _written(mpi: CDLL, variable: str, value: int) -> Iterator[None]:
    """Give the variable a value for as long as the context lasts."""
    handle, before = c_void_p(), c_int()  # a bool is read and written through its first byte
    _check(mpi.MPI_T_cvar_handle_alloc(_index(mpi, variable), None, byref(handle), byref(c_int())))
    _check(mpi.MPI_T_cvar_read(handle, byref(before)))
    if before.value != value and mpi.MPI_T_cvar_write(handle, byref(c_int(value))) != MPI.SUCCESS:
        raise LookupError(
            f"this Open MPI lets no running program set {variable}: start with OMPI_MCA_{variable}={value}"
        )
    try:
        yield
    finally:
        if before.value != value:
            mpi.MPI_T_cvar_write(handle, byref(before))
        mpi.MPI_T_cvar_handle_free(byref(handle))
