"""The C types that tensor.py is compiled with."""
from .array cimport Array
from .autograd cimport Op, Variable
from .view cimport is_float

cdef class Tensor(Variable):
    pass

cdef _binary(Op op, a, b)
