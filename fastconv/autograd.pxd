"""The C types that autograd.py is compiled with."""
cimport cython

from .array cimport Array
from .modes cimport anomaly, recording, set_anomaly, set_recording
from .view cimport is_float

cdef class Node
cdef type _tensor_class

cdef class Variable:
    cdef public Array data
    cdef public object _grad
    cdef public Node node
    cdef public bint requires_grad
    cdef public int output
    cdef object __weakref__

cdef class Op:
    cdef public object forward, composite, joint_rule, signature, outputs
    cdef public str name
    cdef public dict rules
    cdef public list names
    cdef public bint broadcasts, differentiable, variadic
    cdef public Py_ssize_t inputs
    cdef dict __dict__
    @cython.locals(count=Py_ssize_t, i=Py_ssize_t, plain=list, call=tuple, has_variables=bint, needs_grad=bint,
                   foreign=bint, variable=Variable, node=Node)
    cpdef apply(self, tuple args, dict keywords)
    cpdef bint carries_gradient(self, int output) except -1

cdef class Node:
    cdef public Op op
    cdef public tuple args, call
    cdef public dict keywords
    cdef public object out, time
    cdef public Py_ssize_t count
    cpdef tuple outputs(self)
    cpdef free(self)
    cpdef check_alive(self)
    cpdef list sources(self)
    @cython.locals(op=Op, y=tuple)
    cdef list input_gradients(self, tuple grads, list needed, bint create_graph)
    @cython.locals(op=Op, found=list)
    cdef list _apply_rules(self, tuple arguments, list needed)

@cython.locals(tensor=Variable)
cdef Variable _wrap(data, Node node=*, int output=*)
cdef tuple _wrap_outputs(Op op, arrays, Node node)
cdef bint _check_operand(str name, x, Py_ssize_t place) except -1
cdef _convert_operands(list plain, Py_ssize_t count, device)
@cython.locals(node=Node)
cdef Node _record(Op op, tuple args, tuple call, dict keywords, out, Py_ssize_t count)
cdef _place(Variable tensor)
cdef _fit(g, Array x)

cdef class _Walk:
    cdef object targets, useful
    cdef dict waiting, found
    cdef list queue
    @cython.locals(node=Node, slot=list)
    cdef give(self, Variable tensor, g)
    cdef bint wants(self, x) except -1
    @cython.locals(slot=list, node=Node, args=tuple, needed=list, results=list, i=Py_ssize_t)
    cdef run(self, bint create_graph, bint retain_graph)

@cython.locals(i=Py_ssize_t, grads=list)
cdef tuple _fill_missing(Node node, list slot, bint create_graph)
