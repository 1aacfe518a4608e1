"""Operators that pick elements by index, and those whose result's shape depends on values."""
import numpy as np

from ... import ops
from ...array import FLOATS, array
from ...ops.along_axis import put_elements, take_elements
from ...tensor import Tensor
from .registry import OnnxError, axis_of, ints, number, on_host, operator

_REDUCTIONS = {"none": None, "add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}


def _wrapped(indices, n):
    """Indices 0..n-1 (NumPy) from those that may count from the end."""
    at = indices.numpy().astype(np.int64)
    if at.size and not (-n <= at.min() and at.max() < n):
        raise OnnxError(f"indices from {at.min()} to {at.max()} for {n} entries")
    return np.where(at < 0, at + n, at)


@operator("Gather", host=(1,))
def _(node, context, x, indices):
    axis = axis_of(node, x.ndim)
    at = _wrapped(indices, x.shape[axis])
    if not at.ndim:
        return ops.getitem(x, (slice(None),) * axis + (int(at),))
    taken = ops.index_select(x, at.reshape(-1), axis)
    return ops.reshape(taken, (*x.shape[:axis], *at.shape, *x.shape[axis + 1:]))


@operator("GatherElements", host=(1,))
def _(node, context, x, indices):
    return ops.take_along_axis(x, indices.numpy(), axis_of(node, x.ndim))


@operator("ScatterElements", "Scatter", host=(1,))
def _(node, context, x, indices, updates):
    reduction = _REDUCTIONS[node.get("reduction", "none")]
    return ops.put_along_axis(x, indices.numpy(), updates, axis_of(node, x.ndim), reduction)


def _places(shape, indices, batch_dims=0):
    """Row-major places of the slices that `indices` (..., k) name, and the shape of a slice."""
    at = indices.numpy().astype(np.int64)
    if not at.ndim or at.shape[-1] > len(shape) - batch_dims or at.shape[:batch_dims] != shape[:batch_dims]:
        raise OnnxError(f"indices of shape {at.shape} with {batch_dims} batch dimensions for data of shape {shape}")
    k = at.shape[-1]
    named, rest = shape[batch_dims:batch_dims + k], shape[batch_dims + k:]
    for i, n in enumerate(named):
        column = at[..., i]
        if column.size and not (-n <= column.min() and column.max() < n):
            raise OnnxError(f"indices from {column.min()} to {column.max()} for {n} entries")
    at = np.where(at < 0, at + np.array(named, np.int64), at)
    lead = np.indices(at.shape[:batch_dims], sparse=True) if batch_dims else []
    places = np.zeros(at.shape[:-1], np.int64)
    for grid, n in zip(lead, shape[:batch_dims]):
        places = places * n + grid.reshape(grid.shape + (1,) * (places.ndim - batch_dims))
    for i, n in enumerate(named):
        places = places * n + at[..., i]
    inside = np.arange(int(np.prod(rest))).reshape(rest)
    return places.reshape(places.shape + (1,) * len(rest)) * inside.size + inside


@operator("GatherND", host=(1,))
def _(node, context, x, indices):
    places = _places(x.shape, indices, node.get("batch_dims"))
    return take_elements(x, places, places.shape)


@operator("ScatterND", host=(1,))
def _(node, context, x, indices, updates):
    places = _places(x.shape, indices)
    if places.shape != updates.shape:
        raise OnnxError(f"updates of shape {updates.shape}, not {places.shape}")
    return put_elements(x, places, updates, _REDUCTIONS[node.get("reduction", "none")])


@operator("TensorScatter", host=(2,))
def _(node, context, past, update, starts=None):
    axis = axis_of(node, past.ndim)
    starts = np.zeros(past.shape[0], np.int64) if starts is None else starts.numpy().astype(np.int64)
    n, m = past.shape[axis], update.shape[axis]
    at = starts[:, None] + np.arange(m)
    if node.get("mode") == "circular":
        at %= n
    shape = [1] * past.ndim
    shape[0], shape[axis] = at.shape
    return ops.put_along_axis(past, np.broadcast_to(at.reshape(shape), update.shape), update, axis)


@operator("OneHot", host=(0, 1, 2))
def _(node, context, indices, depth, values):
    n, axis = int(np.asarray(depth.numpy()).reshape(-1)[0]), node.get("axis")
    context.check((*indices.shape, n), values.dtype)
    if not -indices.ndim - 1 <= axis <= indices.ndim or values.shape != (2,):
        raise OnnxError(f"axis {axis}, values of shape {values.shape}")
    at = indices.numpy().astype(np.int64)
    at = np.where((at < 0) & (at >= -n), at + n, at)
    hit = np.moveaxis(at[..., None] == np.arange(n), -1, axis)
    off, on = values.numpy()
    return Tensor(array(hit, device=context.device).where(on.item(), off.item()).astype(values.dtype))


@operator("TopK", host=(1,))
def _(node, context, x, k):
    axis, (k,) = axis_of(node, x.ndim), ints(k)
    if not 0 <= k <= x.shape[axis]:
        raise OnnxError(f"the {k} largest of {x.shape[axis]}")
    values = x.numpy()
    if node.get("largest"):     # equal values in the order of their indices: sort the axis backwards, then flip
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(values, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(values, axis, kind="stable")
    at = np.take(order, np.arange(k), axis)
    return ops.take_along_axis(x, at, axis), on_host(at)


@operator("NonZero")
def _(node, context, x):
    values = x.numpy()
    found = np.nonzero(values) if values.ndim else np.nonzero(values.reshape(1))
    return on_host(np.stack(found) if found else np.zeros((0, 0), np.int64))


@operator("Compress", host=(1,))
def _(node, context, x, condition):
    axis = node.get("axis")
    if axis is None:
        x, axis = ops.reshape(x, (-1,)), 0
    return ops.index_select(x, np.flatnonzero(condition.numpy()), axis)


@operator("Unique")
def _(node, context, x):
    axis, values = node.get("axis"), x.numpy()
    unique, first, inverse, counts = np.unique(values, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not node.get("sorted"):
        order = np.argsort(first)
        unique, first, counts = np.take(unique, order, axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    indices = (on_host(a.astype(np.int64)) for a in (first, inverse, counts))
    return Tensor(array(unique, device=x.device)), *indices


@operator("Trilu", host=(1,))
def _(node, context, x, k=None):
    k = 0 if k is None else int(number(k))
    inside = np.tri(*x.shape[-2:], k if not node.get("upper") else k - 1, dtype=bool)
    inside = ~inside if node.get("upper") else inside
    zero = 0.0 if x.dtype in FLOATS else False if x.dtype == bool else 0
    return ops.cast(ops.where(array(inside, device=x.device), x, zero), x.dtype)


@operator("CumSum", host=(1,))
def _(node, context, x, axis):
    return ops.cast(ops.cumsum(x, int(number(axis)), bool(node.get("exclusive")), bool(node.get("reverse"))), x.dtype)


@operator("CumProd", host=(1,))
def _(node, context, x, axis):
    return ops.cast(ops.cumprod(x, int(number(axis)), bool(node.get("exclusive")), bool(node.get("reverse"))), x.dtype)


@operator("ReverseSequence", host=(1,))
def _(node, context, x, lengths):
    time, batch = axis_of(node, x.ndim, "time_axis"), axis_of(node, x.ndim, "batch_axis")
    lengths = lengths.numpy().astype(np.int64)
    if {time, batch} != {0, 1} or lengths.shape != (x.shape[batch],) or lengths.max(initial=0) > x.shape[time]:
        raise OnnxError(f"lengths {lengths.tolist()}, time axis {time}, batch axis {batch}")
    shape = [1] * x.ndim
    shape[time] = -1
    t = np.arange(x.shape[time]).reshape(shape)
    shape[time], shape[batch] = 1, -1
    n = lengths.reshape(shape)
    at = np.where(t < n, n - 1 - t, t)
    return ops.take_along_axis(x, np.broadcast_to(at, x.shape), time)


@operator("NonMaxSuppression", host=(0, 1, 2, 3, 4))
def _(node, context, boxes, scores, limit=None, iou=None, least=None):
    limit = 0 if limit is None else int(np.asarray(limit.numpy()).reshape(-1)[0])
    iou = 0.0 if iou is None else float(np.asarray(iou.numpy()).reshape(-1)[0])
    least = None if least is None else float(np.asarray(least.numpy()).reshape(-1)[0])
    boxes, scores, found = boxes.numpy(), scores.numpy(), []
    for n in range(scores.shape[0]):
        corners = _corners(boxes[n], node.get("center_point_box"))
        for c in range(scores.shape[1]):
            found += [(n, c, i) for i in _suppressed(corners, scores[n, c], limit, iou, least)]
    return on_host(np.array(found, np.int64).reshape(-1, 3))


def _corners(boxes, centred):
    """(n, 4) as the low and the high corner."""
    if centred:
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def _suppressed(corners, scores, limit, iou, least):
    """Boxes in the order of falling score, without those that overlap an earlier one by more than `iou`."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if len(kept) >= limit or (least is not None and scores[i] <= least):
            break
        sizes = np.minimum(corners[i, 2:], corners[kept, 2:]) - np.maximum(corners[i, :2], corners[kept, :2])
        common = np.prod(np.maximum(sizes, 0), axis=1)
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        union = areas[i] + areas[kept] - common
        if not (common > iou * union).any():
            kept.append(int(i))
    return kept
