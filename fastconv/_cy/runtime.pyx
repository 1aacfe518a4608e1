"""What all kernels share: the instruction set's table, chosen once at import, and the number of threads."""
import os

from libc.stdint cimport int64_t

from .kernels cimport fc_kernels

cdef extern from "kernels/dispatch.h" nogil:
    int FC_ISAS
    const fc_kernels *fc_isa(int i)
    const char *fc_compiler()
    int fc_openmp()
    const fc_kernels fc_kernels_baseline

# Work (elementary operations, about 0.1 ns each) below which a second thread costs more than it
# brings: a parallel region takes 1 us when its threads still spin, 20 us when they sleep.
cdef enum: WORK_PER_THREAD = 30000

cdef const fc_kernels *kernels = NULL
cdef int threads = 1


cdef int threads_for(int64_t work) noexcept nogil:
    """How many threads `work` operations deserve."""
    cdef int64_t most = 1 + work // WORK_PER_THREAD
    return threads if most > threads else <int>most


cdef int max_threads() noexcept nogil:
    return threads


def available_isas():
    """Names of the instruction sets that this build holds and this machine runs, best first."""
    return [fc_isa(i).name.decode() for i in range(FC_ISAS) if fc_isa(i) is not NULL]


cdef int choose_isa() except -1:
    global kernels
    wanted = os.environ.get("FASTCONV_ISA") or ""
    for i in range(FC_ISAS):
        table = fc_isa(i)
        if table is not NULL and wanted in ("", table.name.decode()):
            kernels = table
            return 0
    raise ValueError(f"FASTCONV_ISA={wanted!r}: this machine and build have {', '.join(available_isas())}")


def usable_cores():
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(n):
    """Let kernels use up to `n` threads; ValueError unless n >= 1."""
    global threads
    n = int(n)
    if n < 1:
        raise ValueError(f"the number of threads must be at least 1, not {n}")
    threads = n if fc_openmp() else 1


def get_num_threads():
    """How many threads kernels use at most."""
    return threads


def config():
    """dict of what this build found: isa, isas, openmp (its version or 0), threads, compiler."""
    return {"isa": kernels.name.decode(), "isas": available_isas(), "openmp": fc_openmp(),
            "threads": threads, "compiler": fc_compiler().decode()}


def _threads_at_import():
    first = (os.environ.get("OMP_NUM_THREADS") or "").split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else usable_cores()


choose_isa()
set_num_threads(_threads_at_import())
if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not survive a fork: a parallel region in the child would wait for them forever.
    os.register_at_fork(after_in_child=lambda: set_num_threads(1))
