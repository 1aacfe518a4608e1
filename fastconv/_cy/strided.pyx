"""Strided walking: Arrays into C structs, dimensions merged where memory allows, blocks in and out.

Elements are numbered in row-major order of a Loop's (merged) shape; a block is a range of numbers.
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from ..view cimport View
from .buffer cimport Buffer
from .kernels cimport FC_BOOL, FC_F32, FC_F64, FC_I32, FC_I64, FC_U8

cdef int CODES[64]              # np.dtype.num -> FC_ dtype
cdef int _n
for _n in range(64):
    CODES[_n] = -1
for _kind, _code in (("float32", FC_F32), ("float64", FC_F64), ("bool", FC_BOOL), ("uint8", FC_U8)):
    CODES[np.dtype(_kind).num] = _code
for _kind in "ilq":
    CODES[np.dtype(_kind).num] = FC_I32 if np.dtype(_kind).itemsize == 4 else FC_I64


cdef object FLOAT32 = np.dtype(np.float32)


cdef int dtype_code(object dtype) except -1:
    if dtype is FLOAT32:
        return FC_F32
    cdef int num = dtype.num
    if num < 0 or num >= 64 or CODES[num] < 0:
        raise TypeError(f"the CPU device has no kernels for dtype {dtype}")
    return CODES[num]


cdef int set_shape(Loop *loop, object x) except -1:
    """Start a Loop over x's shape, without operands."""
    cdef tuple shape = (<View?>x).shape
    cdef int d
    loop.operands = 0
    loop.ndim = <int>len(shape)
    loop.size = 1
    for d in range(loop.ndim):
        loop.shape[d] = shape[d]
        loop.size *= loop.shape[d]
    return 0


cdef int add_array(Loop *loop, object x) except -1:
    """Append x (an Array of the Loop's ndim; size 1 where the Loop's is larger broadcasts). Its number."""
    cdef View view = <View?>x
    cdef int operand = loop.operands, d
    cdef Buffer buffer = <Buffer?>view.buffer
    cdef tuple shape = view.shape, strides = view.strides
    cdef int code = dtype_code(view.dtype)
    cdef int itemsize = 4 if code in (FC_F32, FC_I32) else 8 if code in (FC_F64, FC_I64) else 1
    loop.dtype[operand] = code
    loop.itemsize[operand] = itemsize
    loop.data[operand] = buffer.ptr + view.offset * itemsize
    for d in range(loop.ndim):
        if <int64_t>shape[d] == 1:
            loop.strides[operand][d] = 0
        else:
            loop.strides[operand][d] = <int64_t>strides[d] * itemsize
    loop.operands += 1
    return operand


cdef inline int64_t magnitude(int64_t x) noexcept nogil:
    return -x if x < 0 else x


cdef void swap_dims(Loop *loop, int a, int b) noexcept nogil:
    cdef int op
    loop.shape[a], loop.shape[b] = loop.shape[b], loop.shape[a]
    for op in range(loop.operands):
        loop.strides[op][a], loop.strides[op][b] = loop.strides[op][b], loop.strides[op][a]


cdef int mergeable(const Loop *loop, int outer, int inner) noexcept nogil:
    cdef int op
    for op in range(loop.operands):
        if loop.strides[op][outer] != loop.strides[op][inner] * loop.shape[inner]:
            return 0
    return 1


cdef void coalesce(Loop *loop, int by) noexcept nogil:
    """Drop dims of size 1, sort the others by operand `by`'s strides, merge those that lie in one piece."""
    cdef int d, e, kept = 0, op
    for d in range(loop.ndim):
        if loop.shape[d] != 1:
            if kept != d:
                swap_dims(loop, kept, d)
            e = kept
            while e > 0 and magnitude(loop.strides[by][e - 1]) < magnitude(loop.strides[by][e]):
                swap_dims(loop, e - 1, e)
                e -= 1
            kept += 1
    loop.ndim = kept
    d = kept - 2
    while d >= 0:
        if mergeable(loop, d, d + 1):
            loop.shape[d + 1] *= loop.shape[d]
            for e in range(d, loop.ndim - 1):
                loop.shape[e] = loop.shape[e + 1]
                for op in range(loop.operands):
                    loop.strides[op][e] = loop.strides[op][e + 1]
            loop.ndim -= 1
        d -= 1
    if loop.ndim == 0:
        loop.ndim = 1
        loop.shape[0] = 1
        for op in range(loop.operands):
            loop.strides[op][0] = loop.itemsize[op]


cdef int is_dense(const Loop *loop, int operand) noexcept nogil:
    """Whether consecutive elements of a coalesced Loop lie side by side."""
    cdef int64_t step = loop.itemsize[operand]
    cdef int d
    for d in range(loop.ndim - 1, -1, -1):
        if loop.strides[operand][d] != step:
            return 0
        step *= loop.shape[d]
    return 1


cdef void unravel(const Loop *loop, int64_t start, int64_t *index) noexcept nogil:
    cdef int d
    for d in range(loop.ndim - 1, 0, -1):
        index[d] = start % loop.shape[d]
        start //= loop.shape[d]
    index[0] = start


cdef int64_t locate(const Loop *loop, int operand, const int64_t *index) noexcept nogil:
    cdef int64_t at = 0
    cdef int d
    for d in range(loop.ndim):
        at += index[d] * loop.strides[operand][d]
    return at


cdef void next_row(const Loop *loop, int64_t *index) noexcept nogil:
    """From anywhere in a row to the start of the next one."""
    cdef int d = loop.ndim - 1
    index[d] = 0
    while d > 0:
        d -= 1
        index[d] += 1
        if index[d] < loop.shape[d]:
            return
        if d > 0:
            index[d] = 0


cdef void copy_strided(char *dst, int64_t dst_stride, const char *src, int64_t src_stride, int64_t n,
                       int itemsize) noexcept nogil:
    """n elements between any two strides (in bytes)."""
    cdef int64_t i
    cdef int32_t word
    cdef int64_t long_word
    if dst_stride == itemsize and src_stride == itemsize:
        memcpy(dst, src, n * itemsize)
    elif itemsize == 4:
        if dst_stride == 4 and src_stride == 0:
            word = (<const int32_t *>src)[0]
            for i in range(n):
                (<int32_t *>dst)[i] = word
        elif dst_stride == 4:
            for i in range(n):
                (<int32_t *>dst)[i] = (<const int32_t *>(src + i * src_stride))[0]
        else:
            for i in range(n):
                (<int32_t *>(dst + i * dst_stride))[0] = (<const int32_t *>(src + i * src_stride))[0]
    elif itemsize == 8:
        if dst_stride == 8 and src_stride == 0:
            long_word = (<const int64_t *>src)[0]
            for i in range(n):
                (<int64_t *>dst)[i] = long_word
        else:
            for i in range(n):
                (<int64_t *>(dst + i * dst_stride))[0] = (<const int64_t *>(src + i * src_stride))[0]
    elif dst_stride == 1 and src_stride == 0:
        memset(dst, (<const uint8_t *>src)[0], n)
    else:
        for i in range(n):
            dst[i * dst_stride] = src[i * src_stride]


cdef void gather(char *dst, const Loop *loop, int operand, int64_t start, int64_t n) noexcept nogil:
    """Elements [start, start + n) of an operand, side by side, to dst."""
    cdef int64_t index[MAX_DIMS]
    cdef int last = loop.ndim - 1, itemsize = loop.itemsize[operand]
    cdef int64_t row
    unravel(loop, start, index)
    while n > 0:
        row = min(n, loop.shape[last] - index[last])
        copy_strided(dst, itemsize, loop.data[operand] + locate(loop, operand, index),
                     loop.strides[operand][last], row, itemsize)
        dst += row * itemsize
        n -= row
        next_row(loop, index)


cdef void scatter(const Loop *loop, int operand, const char *src, int64_t start, int64_t n) noexcept nogil:
    """The other way: side by side from src to elements [start, start + n) of an operand."""
    cdef int64_t index[MAX_DIMS]
    cdef int last = loop.ndim - 1, itemsize = loop.itemsize[operand]
    cdef int64_t row
    unravel(loop, start, index)
    while n > 0:
        row = min(n, loop.shape[last] - index[last])
        copy_strided(loop.data[operand] + locate(loop, operand, index), loop.strides[operand][last], src,
                     itemsize, row, itemsize)
        src += row * itemsize
        n -= row
        next_row(loop, index)
