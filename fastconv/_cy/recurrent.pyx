"""The elementwise part of recurrent steps: one fused loop a row, rows in parallel.

Operands are (n, h) or, with gates side by side along the last axis, (n, gates * h).
"""
from cython.parallel cimport prange
from libc.stdint cimport int64_t

from .kernels cimport FC_GRU, FC_GRU_GRAD, FC_LSTM, FC_LSTM_GRAD, fc_recurrent
from .runtime cimport kernels, threads_for
from .strided cimport Loop, add_array, set_shape

cdef enum:
    MOST = 16                   # operands, each gate counted
    COST = 24                   # of one hidden unit, in additions

cdef struct Plan:
    fc_recurrent kernel
    int operands
    char *data[MOST]
    int64_t row[MOST]           # bytes between rows
    int64_t step[MOST]          # elements between units
    int64_t n, h


cdef int add(Plan *p, x, int gates) except -1:
    """Append x, one operand for each of its gates; a 1-d x serves every row."""
    cdef Loop loop
    cdef int gate, last
    set_shape(&loop, x)
    add_array(&loop, x)
    last = loop.ndim - 1
    if loop.dtype[0] > 1:
        raise NotImplementedError("device 'cpu' has recurrent steps for float32 and float64 only")
    for gate in range(gates):
        p.data[p.operands] = loop.data[0] + gate * p.h * loop.strides[0][last]
        p.row[p.operands] = loop.strides[0][0] if last else 0
        p.step[p.operands] = loop.strides[0][last] // loop.itemsize[0] if p.h > 1 else 1
        p.operands += 1
    return loop.dtype[0]


cdef int run(int kind, like, operands) except -1:
    """`like` is an (n, h) operand; `operands` are pairs (Array, gates) in the order of the C kernel."""
    cdef Plan p
    cdef int dtype = 0, threads
    cdef int64_t i
    p.operands = 0
    p.n, p.h = like.shape
    for x, gates in operands:
        dtype = add(&p, x, gates)
    p.kernel = kernels.recurrent[kind][dtype]
    threads = threads_for(p.n * p.h * COST)
    if threads == 1:
        with nogil:
            for i in range(p.n):
                run_row(&p, i)
    else:
        for i in prange(p.n, nogil=True, num_threads=threads, schedule="static"):
            run_row(&p, i)
    return 0


cdef void run_row(const Plan *p, int64_t i) noexcept nogil:
    cdef void *data[MOST]
    cdef int k
    for k in range(p.operands):
        data[k] = p.data[k] + i * p.row[k]
    p.kernel(p.h, data, p.step, p.operands)


def lstm_step(h, c, gates, gx, c_prev):
    """One step of an LSTM (see fastconv.reference.lstm_step)."""
    run(FC_LSTM, h, ((h, 1), (c, 1), (gates, 4), (gx, 4), (c_prev, 1)))


def lstm_step_grad(d_gates, dc_prev, dh, dc, gates, c, c_prev):
    """The gradient of lstm_step (see fastconv.reference.lstm_step_grad)."""
    run(FC_LSTM_GRAD, c, ((d_gates, 4), (dc_prev, 1), (dh, 1), (dc, 1), (gates, 4), (c, 1), (c_prev, 1)))


def gru_step(h, gates, gx, gh, bias, h_prev):
    """One step of a GRU (see fastconv.reference.gru_step)."""
    run(FC_GRU, h, ((h, 1), (gates, 3), (gx, 3), (gh, 3), (bias, 3), (h_prev, 1)))


def gru_step_grad(d_gx, d_gh, dh_prev, dh, gates, gh, h_prev):
    """The gradient of gru_step (see fastconv.reference.gru_step_grad)."""
    run(FC_GRU_GRAD, dh, ((d_gx, 3), (d_gh, 3), (dh_prev, 1), (dh, 1), (gates, 3), (gh, 3), (h_prev, 1)))
