"""Launch code of the normalisations: kernels/norm.cl."""
import numpy as np

from ..reference import norm_order
from . import layout
from .layout import merge_in_order, round_up, struct
from .types import C_TYPES, kernel_index, number

ACTIVATIONS = {None: {}, "relu": {"RELU": 1}, "relu6": {"RELU6": 1}}


class Normalisation:
    """A plan for batch_norm (without g) or its gradient.

    operands    x, y and, for the gradient, g: (n, channels, ...)
    vectors     (channels,) or None: mean, rstd, weight, bias, running_mean, running_var, d_weight, d_bias
    """

    def __init__(self, runtime, operands, vectors, activation):
        if activation not in ACTIVATIONS:
            raise NotImplementedError(f"{runtime.device.name.strip()} has no normalisation with activation {activation!r}")
        x, grad = operands[0], len(operands) == 3
        dtype, self.channels, size = x.dtype, x.shape[1], layout.size_of(x.shape)
        chunk, lanes = norm_order(x.shape, x.strides)
        shape, strides = merge_in_order((x.shape[0], *x.shape[2:]), *((o.strides[0], *o.strides[2:]) for o in operands))
        count = size // self.channels
        chunks = -(-count // chunk)
        three = [*range(len(operands)), *([0] if not grad else [])]
        mean = vectors[0]
        present = [mean if v is None else v for v in vectors]
        group = min(runtime.params.map_group, 64)
        index, wide = kernel_index(size + group, chunks * lanes * 2 * self.channels + group, chunk,
                                   *(n for s in strides for n in s), *(v.strides[0] for v in present),
                                   *(layout.reach(o.shape, o.strides, o.offset) for o in [*operands, *present]))
        self.struct = struct(wide, self.channels, count, chunk, chunks, shape, [operands[k].offset for k in three],
                             [strides[k] for k in three], [operands[k].strides[1] for k in three],
                             [v.offset for v in present], [v.strides[0] for v in present])
        self.accumulator = np.dtype(np.float64 if runtime.has_double and runtime.params.double_sums else dtype)
        self.partial_bytes = chunks * lanes * 2 * self.channels * self.accumulator.itemsize
        self.value_bytes = 2 * self.channels * dtype.itemsize
        defines = {"T": C_TYPES[dtype.name], "A": C_TYPES[self.accumulator.name], **index, "LANES": lanes, "PD": len(shape),
                   **({"GRAD": 1} if grad else {}), **ACTIVATIONS[activation],
                   **{f"HAS_{name}": 1 for name, v in zip(("WEIGHT", "BIAS", "RUNNING"), vectors[2:5]) if v is not None}}
        self.sums, self.end, self.apply = (runtime.kernel(name, "norm.cl", (group,), **defines)
                                           for name in ("norm_sums", "norm_end", "norm_apply"))
        self.sizes = [(round_up(n, group),) for n in (chunks * lanes * self.channels, self.channels, size)]

    def run(self, runtime, operands, vectors, scalars=()):
        """scalars: momentum and eps, of the statistics only."""
        x, y, g = (o.buffer.memory for o in (*operands, operands[0])[:3])
        memory = [None if v is None else v.buffer.memory for v in vectors]
        mean, rstd, weight, bias, running_mean, running_var, d_weight, d_bias = (memory[0] if m is None else m for m in memory)
        partial = runtime.allocate(self.partial_bytes)
        runtime.launch(self.sums, self.sizes[0], self.struct, (partial.memory, x, g, mean, rstd, weight, bias))
        if scalars:
            momentum, eps = number(operands[0].dtype, scalars[0]), number(self.accumulator, scalars[1])
            runtime.launch(self.end, self.sizes[1], self.struct,
                           (partial.memory, x, mean, rstd, running_mean, running_var), (momentum, eps))
            values = partial
        else:
            values = runtime.allocate(self.value_bytes)
            runtime.launch(self.end, self.sizes[1], self.struct, (partial.memory, rstd, d_weight, d_bias, values.memory))
        runtime.launch(self.apply, self.sizes[2], self.struct, (y, x, g, mean, rstd, weight, bias, values.memory))
