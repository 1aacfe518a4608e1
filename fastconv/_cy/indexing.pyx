"""take and put (rows by index), csr_matmul (a sparse matrix times a dense one), add_rows (a grouped scatter-add)."""
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from .kernels cimport FC_SUM, fc_gemm
from .runtime cimport kernels, threads_for
from .strided cimport Loop, add_array, copy_strided, set_shape

cdef enum: COLUMNS = 256        # of csr_matmul's output in work at once


cdef int read_array(Loop *loop, object x) except -1:
    set_shape(loop, x)
    return add_array(loop, x)


def take(out, x, indices):
    """out[i, j] = x[indices[i], j] (see fastconv.reference.take)."""
    move_rows(out, x, indices, False)


def put(out, x, indices):
    """out[indices[i], j] = x[i, j] (see fastconv.reference.put)."""
    move_rows(out, x, indices, True)


cdef int move_rows(object out, object x, object indices, bint putting) except -1:
    cdef Loop lo, lx, li
    cdef int64_t i, rows
    cdef int threads
    read_array(&lo, out)
    read_array(&lx, x)
    read_array(&li, indices)
    rows = li.size
    threads = threads_for(rows * lo.shape[1])
    if threads == 1:
        with nogil:
            for i in range(rows):
                move_row(&lo, &lx, &li, i, putting)
    else:
        for i in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            move_row(&lo, &lx, &li, i, putting)
    return 0


cdef void move_row(const Loop *lo, const Loop *lx, const Loop *li, int64_t i, bint putting) noexcept nogil:
    cdef int64_t at = (<const int64_t *>(li.data[0] + i * li.strides[0][0]))[0]
    cdef int64_t x_step = lx.strides[0][1], out_step = lo.strides[0][1]
    if lo.shape[1] == 1:
        x_step = out_step = lo.itemsize[0]
    copy_strided(lo.data[0] + (at if putting else i) * lo.strides[0][0], out_step,
                 lx.data[0] + (i if putting else at) * lx.strides[0][0], x_step, lo.shape[1], lo.itemsize[0])


def csr_matmul(out, indptr, indices, data, x):
    """out (m, n) = S (m, k) @ x (k, n), S in CSR form (see fastconv.reference.csr_matmul)."""
    cdef Loop lo, lx, lptr, lidx, lval
    cdef int64_t i, rows, entries
    cdef int threads
    read_array(&lo, out)
    read_array(&lx, x)
    read_array(&lptr, indptr)
    read_array(&lidx, indices)
    read_array(&lval, data)
    if lx.dtype[0] > 1:
        raise NotImplementedError("device 'cpu' has csr_matmul for float32 and float64 only")
    rows = lo.shape[0]
    entries = lval.size
    threads = threads_for(entries * lx.shape[1] // 2 + lo.size)
    if threads == 1:
        with nogil:
            for i in range(rows):
                csr_row(&lo, &lptr, &lidx, &lval, &lx, i)
    else:
        for i in prange(rows, nogil=True, num_threads=threads, schedule="guided"):
            csr_row(&lo, &lptr, &lidx, &lval, &lx, i)


cdef void csr_row(const Loop *lo, const Loop *lptr, const Loop *lidx, const Loop *lval, const Loop *lx,
                  int64_t i) noexcept nogil:
    """One row of out, COLUMNS at a time."""
    cdef const fc_gemm *kernel = &kernels.gemm[lx.dtype[0]]
    cdef const int64_t *ptr = <const int64_t *>lptr.data[0]
    cdef const int64_t *idx = <const int64_t *>lidx.data[0]
    cdef double acc[COLUMNS]
    cdef double value
    cdef const char *entry
    cdef int itemsize = lx.itemsize[0]
    cdef int64_t j = 0, n, e, x_step = lx.strides[0][1], out_step = lo.strides[0][1]
    if lo.shape[1] == 1:
        x_step = out_step = itemsize
    while j < lo.shape[1]:
        n = min(<int64_t>COLUMNS, lo.shape[1] - j)
        memset(acc, 0, n * itemsize)
        for e in range(ptr[i], ptr[i + 1]):
            entry = <const char *>lval.data[0] + e * lval.strides[0][0]
            value = (<const float *>entry)[0] if itemsize == 4 else (<const double *>entry)[0]
            kernel.axpy(acc, value, lx.data[0] + idx[e] * lx.strides[0][0] + j * x_step, n, x_step // itemsize)
        copy_strided(lo.data[0] + i * lo.strides[0][0] + j * out_step, out_step, <char *>acc, itemsize, n, itemsize)
        j += n


def add_rows(out, rows, starts, order, g):
    """out[rows[s]] += sum of g[order[e]] for e in starts[s]..starts[s + 1] (see fastconv.reference.add_rows)."""
    cdef Loop lo, lrows, lstarts, lorder, lg
    cdef int64_t s, targets
    cdef int threads
    read_array(&lo, out)
    read_array(&lrows, rows)
    read_array(&lstarts, starts)
    read_array(&lorder, order)
    read_array(&lg, g)
    if lg.dtype[0] > 1:
        raise NotImplementedError("device 'cpu' has add_rows for float32 and float64 only")
    targets = lrows.size
    threads = threads_for(lg.size + targets * lo.shape[1])
    if threads == 1:
        with nogil:
            for s in range(targets):
                add_row(&lo, &lrows, &lstarts, &lorder, &lg, s)
    else:
        for s in prange(targets, nogil=True, num_threads=threads, schedule="guided"):
            add_row(&lo, &lrows, &lstarts, &lorder, &lg, s)


cdef void add_row(const Loop *lo, const Loop *lrows, const Loop *lstarts, const Loop *lorder, const Loop *lg,
                  int64_t s) noexcept nogil:
    """One target row, COLUMNS at a time, summed in double."""
    cdef const int64_t *starts = <const int64_t *>lstarts.data[0]
    cdef const int64_t *order = <const int64_t *>lorder.data[0]
    cdef double acc[COLUMNS]
    cdef int dtype = lg.dtype[0], itemsize = lg.itemsize[0]
    cdef int64_t g_step = lg.strides[0][1], out_step = lo.strides[0][1], j = 0, n, e, i
    cdef char *out = lo.data[0] + (<const int64_t *>lrows.data[0])[s] * lo.strides[0][0]
    if lo.shape[1] == 1:
        g_step = out_step = itemsize
    while j < lo.shape[1]:
        n = min(<int64_t>COLUMNS, lo.shape[1] - j)
        memset(acc, 0, n * 8)
        for e in range(starts[s], starts[s + 1]):
            kernels.reduce_outer[FC_SUM][dtype](acc, lg.data[0] + order[e] * lg.strides[0][0] + j * g_step, 1, 0, n,
                                                g_step // itemsize)
        for i in range(n):
            if dtype == 0:
                (<float *>(out + (j + i) * out_step))[0] += <float>acc[i]
            else:
                (<double *>(out + (j + i) * out_step))[0] += acc[i]
        j += n
