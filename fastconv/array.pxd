"""The C types that array.py is compiled with."""
cimport cython
from libc.stdint cimport int64_t

from .view cimport (Kernels, View, as_axes, as_shape, broadcast_strides, compact_strides, dense_strides, elements, indexed,
                    is_float, is_row_major, itemsize_of, repeats, reshaped_strides)

cdef class Array(View):
    pass

cpdef as_dtype(dtype)
cpdef promote(a, b)
@cython.locals(strides=tuple)
cpdef tuple _same_order_strides(tuple shape, inputs)
cpdef Array empty(shape, dtype=*, device=*, strides=*)
@cython.locals(size=int64_t, itemsize=int64_t, out=Array)
cdef Array _allocate(tuple shape, tuple strides, dtype, Kernels device)
@cython.locals(x=Array)
cdef Array _new(buffer, tuple shape, tuple strides, int64_t offset, dtype, Kernels device)

cdef _arithmetic(str name, Array x, other, bint reverse=*, bint floating=*)
cdef _compare(str name, Array x, other)
@cython.locals(inputs=list)
cdef Array _apply(str name, tuple operands, dtype, result)
@cython.locals(uniform=bint, shape=tuple, device=Kernels, out=Array)
cdef Array _launch(str name, list inputs, dtype)
cdef Array _broadcast(Array x, tuple shape)
@cython.locals(a=Array, b=Array, out=Array, rows=int64_t, inner=int64_t, columns=int64_t)
cdef Array _matmul(Array x, Array y)
cdef bint _is_number(value) except -1
cdef _operand(value, Array beside)
cdef object _size(Array x)
cdef _scalar(value, dtype)
cdef _common_dtype(operands)
