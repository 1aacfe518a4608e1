"""Names shared by the launch code: element types, index types, plan keys."""
import numpy as np

from . import layout

C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long", "uint8": "uchar", "bool": "uchar"}
BOOL = np.dtype(np.bool_)


def kernel_index(*numbers):
    """(defines, wide): INDEX is 64 bits wide only when one of these sizes, strides or reaches needs it."""
    wide = not layout.fits_32(*numbers)
    return ({"INDEX": "long"} if wide else {"INDEX": "int", "INDEX_32": 1}), wide


def key_of(x):
    """What a plan depends on, of an operand."""
    return x.dtype.char, x.shape, x.strides, x.offset


def number(dtype, value):
    """A Python scalar as a kernel argument of `dtype` (wraps like a C cast)."""
    try:
        return np.array(value, dtype)
    except OverflowError:
        return np.asarray(value).astype(dtype)
