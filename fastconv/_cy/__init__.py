"""The CPU device: every kernel of fastconv.reference in Cython and OpenMP.

    buffer        storage: aligned, pooled
    strided       Arrays as C structs, merged dimensions, blocks in and out
    elementwise   map
    reduce        reduce, arg_reduce
    norm          batch_norm, batch_norm_grad
    product       the loops around the register tile, for matmul and conv
    weight_grad   conv_weight_grad, around the same tile
    depthwise     conv and conv_weight_grad for one channel a group
    narrow        conv to few channels: pixels are the vectors' lanes
    runs          how a convolution walks through its taps and channels
    winograd      winograd_conv, winograd_weight_grad: transforms around a tile of their own
    pool          max_pool and its gradient, window_sum
    indexing      take, put, csr_matmul, add_rows
    softmax       softmax, cross_entropy, and their gradients
    recurrent     lstm_step, gru_step and their gradients
    optim         sgd_step, adam_step
    machine       how fast the machine computes and copies at best (for bench/)
    kernels/      what the loops run: straight-line C, compiled once per instruction set
"""
import contextlib
import os

import numpy as np


@contextlib.contextmanager
def _short_spin():
    """Let libgomp's threads, which it starts under these settings when it is loaded, wait briefly before they sleep.

    Its default spins for milliseconds: on cores that others use too, a step of many small regions then
    takes ten times as long. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT is left alone.
    """
    ours = not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ)
    if ours:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    yield
    if ours:
        del os.environ["GOMP_SPINCOUNT"]


with _short_spin():
    from . import runtime  # type: ignore[attr-defined]

from .buffer import allocate, empty_cache, memory_stats
from .conv import conv
from .elementwise import map
from .indexing import add_rows, csr_matmul, put, take
from .matmul import matmul
from .norm import batch_norm, batch_norm_grad
from .optim import adam_step, sgd_step
from .pool import max_pool, max_pool_grad, max_pool_pick, window_sum
from .recurrent import gru_step, gru_step_grad, lstm_step, lstm_step_grad
from .reduce import arg_reduce, reduce
from .softmax import cross_entropy, cross_entropy_grad, softmax, softmax_grad
from .weight_grad import conv_weight_grad
from .winograd import winograd_conv, winograd_weight_grad

config, get_num_threads, set_num_threads = runtime.config, runtime.get_num_threads, runtime.set_num_threads

name = "cpu"
kind = "cpu"


def upload(out, source):
    """Copy `source`, a C-contiguous NumPy array of out's shape and dtype, into compact `out`."""
    _numpy_view(out)[...] = source


def download(x):
    """A new C-contiguous NumPy array with the values of compact `x`."""
    return _numpy_view(x).copy()


def _numpy_view(x):
    return np.ndarray(x.shape, x.dtype, x.buffer, x.offset * x.dtype.itemsize)


def synchronize():
    """Kernels return when they are done: nothing to wait for."""
