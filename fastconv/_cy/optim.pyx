"""Optimiser steps: one fused loop per parameter, one parallel region for the whole list.

The arrays of one parameter are coalesced together, so that a layout they share (channels-last, say)
is one contiguous stretch; all are cut into tasks of TASK elements.
"""
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from .buffer cimport Buffer, new_buffer
from .kernels cimport fc_adam, fc_adam_step, fc_sgd, fc_sgd_step
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, coalesce, locate, next_row, set_shape, unravel

cdef enum: TASK = 8192

cdef struct Task:
    int parameter
    int64_t start, n


cdef class Step:
    """The parameters of one call as loops, and the tasks they are cut into."""
    cdef Buffer loop_memory, task_memory
    cdef Loop *loops
    cdef Task *tasks
    cdef int64_t n_tasks, work
    cdef fc_sgd sgd
    cdef fc_adam adam
    cdef int is_adam

    def __init__(self, lists):
        cdef int64_t n = len(lists[0]), i, start
        cdef Loop *loop
        self.loop_memory = new_buffer(n * sizeof(Loop))
        self.loops = <Loop *>self.loop_memory.ptr
        self.n_tasks = self.work = 0
        for i, arrays in enumerate(zip(*lists)):
            loop = &self.loops[i]
            set_shape(loop, arrays[0])
            for x in arrays:
                if x is None:
                    loop.data[loop.operands] = NULL
                else:
                    add_array(loop, x)
            if loop.dtype[0] > 1:
                raise NotImplementedError("device 'cpu' has optimiser steps for float32 and float64 only")
            coalesce(loop, 0)
            self.n_tasks += (loop.size + TASK - 1) // TASK
            self.work += loop.size * 4
        self.task_memory = new_buffer(self.n_tasks * sizeof(Task))
        self.tasks = <Task *>self.task_memory.ptr
        self.n_tasks = 0
        for i in range(n):
            for start in range(0, self.loops[i].size, TASK):
                self.tasks[self.n_tasks].parameter = i
                self.tasks[self.n_tasks].start = start
                self.tasks[self.n_tasks].n = min(<int64_t>TASK, self.loops[i].size - start)
                self.n_tasks += 1

    cdef void run(self):
        cdef int64_t task, n_tasks = self.n_tasks
        cdef int threads = threads_for(self.work)
        if threads == 1:
            with nogil:
                for task in range(n_tasks):
                    run_task(self.loops, &self.tasks[task], &self.sgd, &self.adam, self.is_adam)
        else:
            for task in prange(n_tasks, nogil=True, num_threads=threads, schedule="static"):
                run_task(self.loops, &self.tasks[task], &self.sgd, &self.adam, self.is_adam)


cdef void run_task(const Loop *loops, const Task *task, const fc_sgd *sgd, const fc_adam *adam,
                   int is_adam) noexcept nogil:
    """Elements [start, start + n) of one parameter, row by row of its coalesced loop."""
    cdef const Loop *loop = &loops[task.parameter]
    cdef int64_t index[MAX_DIMS]
    cdef int64_t strides[4]
    cdef void *data[4]
    cdef int64_t left = task.n, n
    cdef int last = loop.ndim - 1, op
    data[2] = NULL
    strides[2] = 1
    unravel(loop, task.start, index)
    while left > 0:
        n = min(left, loop.shape[last] - index[last])
        for op in range(loop.operands):
            data[op] = loop.data[op] + locate(loop, op, index)
            strides[op] = loop.strides[op][last] // loop.itemsize[op]
        if is_adam:
            kernels.adam[loop.dtype[0]](adam, n, data, strides)
        else:
            kernels.sgd[loop.dtype[0]](sgd, n, data, strides)
        left -= n
        next_row(loop, index)


def sgd_step(params, grads, buffers, lr, momentum, weight_decay, nesterov, first):
    """One step of SGD over lists of Arrays, in place (see fastconv.reference.sgd_step)."""
    cdef Step step = Step([params, grads, buffers] if momentum else [params, grads])
    step.is_adam = 0
    step.sgd.lr = lr
    step.sgd.momentum = momentum
    step.sgd.weight_decay = weight_decay
    step.sgd.nesterov = bool(nesterov)
    step.sgd.first = bool(first)
    step.run()


def adam_step(params, grads, ms, vs, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    """One step of Adam or AdamW over lists of Arrays, in place (see fastconv.reference.adam_step)."""
    cdef Step work = Step([params, grads, ms, vs])
    work.is_adam = 1
    work.adam.beta1 = beta1
    work.adam.beta2 = beta2
    work.adam.eps = eps
    work.adam.weight_decay = 0 if decoupled else weight_decay
    work.adam.shrink = lr * weight_decay if decoupled else 0
    work.adam.rate = lr / (1 - beta1 ** step)
    work.adam.correction = 1 / sqrt(1 - beta2 ** step)
    work.run()
