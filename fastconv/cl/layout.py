"""Host-side arithmetic on strides: merging dimensions, and the structs that carry them to kernels."""
import math

import numpy as np


def merge(shape, *strides):
    """Drop and join dimensions of operands walked together.

    Returns (shape, [strides of each operand]) with the fewest dimensions, ordered by falling stride
    of the first operand. The order of the elements changes, their pairing does not.
    """
    dims = [(size, steps) for size, *steps in zip(shape, *strides) if size != 1]
    dims.sort(key=lambda dim: -abs(dim[1][0]))
    joined = []
    for size, steps in dims:
        if joined and all(outer == inner * size for outer, inner in zip(joined[-1][1], steps)):
            joined[-1] = (joined[-1][0] * size, steps)
        else:
            joined.append((size, steps))
    return tuple(size for size, _ in joined), [tuple(steps[k] for _, steps in joined) for k in range(len(strides))]


def merge_in_order(shape, *strides):
    """Like merge, but dimensions keep their order, and there is at least one."""
    dims = []
    for size, *steps in zip(shape, *strides):
        if dims and (size == 1 or all(outer == inner * size for outer, inner in zip(dims[-1][1], steps))):
            dims[-1] = (dims[-1][0] * size, dims[-1][1] if size == 1 else steps)
        elif size != 1:
            dims.append((size, steps))
    dims = dims or [(1, [0] * len(strides))]
    return tuple(size for size, _ in dims), [tuple(steps[k] for _, steps in dims) for k in range(len(strides))]


def reach(shape, strides, offset):
    """The largest index that a view touches."""
    return offset + sum((size - 1) * max(stride, 0) for size, stride in zip(shape, strides))


def fits_32(*numbers):
    """Whether indices up to these can be computed with 32 bits, sums of two included."""
    return all(abs(n) < 1 << 30 for n in numbers)


def reciprocal(n):
    """(magic, shift) with i // n == mul_hi(i, magic) >> shift for 0 <= i < 2**31, n >= 2."""
    bits = (n - 1).bit_length()
    return ((1 << 31 + bits) + n - 1) // n, bits - 1


def struct(wide, *fields):
    """A kernel's by-value struct of `long` (wide) or `int`: numbers and (nested) sequences in order."""
    flat = []

    def add(field):
        if isinstance(field, (tuple, list)):
            for item in field:
                add(item)
        else:
            flat.append(field)
    add(fields)
    values = np.array(flat, np.int64)
    return values if wide else (values & 0xffffffff).astype(np.uint32)


def round_up(n, multiple):
    return -(-n // multiple) * multiple


def dense(shape):
    """Row-major strides."""
    return tuple(math.prod(shape[d + 1:]) for d in range(len(shape)))


def size_of(shape):
    return math.prod(shape)
