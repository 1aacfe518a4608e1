"""The C types that tensor.py is compiled with."""
from .array cimport Array
from .autograd cimport Op, Variable
from .view cimport is_float

cdef Op _add, _subtract, _multiply, _divide, _power, _matmul
cdef Op _equal, _not_equal, _less, _less_equal, _greater, _greater_equal

cdef class Tensor(Variable):
    pass

cdef _binary(Op op, a, b)
