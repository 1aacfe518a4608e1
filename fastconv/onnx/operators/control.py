"""Control flow, sequences and optionals. Graphs in attributes see the values around them."""
import numpy as np

from ... import ops
from .registry import OnnxError, axis_of, ints, number, on_host, operator, wrapped

MAX_STEPS = 10_000_000


@operator("If", controls=True)
def _(node, context, scope, condition):
    return tuple(context.run(node.get("then_branch" if number(condition) else "else_branch"), scope, ()))


@operator("Loop", controls=True)
def _(node, context, scope, limit=None, condition=None, *states):
    body, states = node.get("body"), list(states)
    limit = MAX_STEPS if limit is None else int(number(limit))
    going, step, scans = condition is None or bool(number(condition)), 0, None
    while going and step < limit:
        if step == MAX_STEPS:
            raise OnnxError(f"more than {MAX_STEPS} steps")
        results = context.run(body, scope, [on_host(np.array(step, np.int64)), on_host(np.array(True)), *states])
        going, states, rows = bool(number(results[0])), results[1:1 + len(states)], results[1 + len(states):]
        scans = [[] for _ in rows] if scans is None else scans
        for scan, row in zip(scans, rows):
            scan.append(row)
        step += 1
    if scans is None:
        scans = [[] for _ in body.outputs[1 + len(states):]]
    return *states, *(_stacked(scan, v) for scan, v in zip(scans, body.outputs[1 + len(states):]))


def _stacked(rows, declared, axis=0):
    if not rows:
        shape = [n if isinstance(n, int) else 0 for n in declared.shape or ()]
        return on_host(np.zeros((0, *shape), declared.dtype or np.float32))
    return ops.stack(rows, axis)


@operator("Scan", controls=True)
def _(node, context, scope, *inputs):
    body, count = node.get("body"), node.get("num_scan_inputs")
    states, sequences = list(inputs[:len(inputs) - count]), inputs[len(inputs) - count:]
    axes = node.get("scan_input_axes") or (0,) * count
    backwards = node.get("scan_input_directions") or (0,) * count
    sequences = [ops.split(s, wrapped((a,), s.ndim)[0])[::-1 if back else 1] for s, a, back in zip(sequences, axes, backwards)]
    if len({len(s) for s in sequences}) != 1:
        raise OnnxError(f"sequences of lengths {[len(s) for s in sequences]}")
    declared = body.outputs[len(states):]
    scans = [[] for _ in declared]
    for rows in zip(*sequences):
        results = context.run(body, scope, [*states, *rows])
        states = results[:len(states)]
        for scan, row in zip(scans, results[len(states):]):
            scan.append(row)
    axes = node.get("scan_output_axes") or (0,) * len(scans)
    turned = node.get("scan_output_directions") or (0,) * len(scans)
    return *states, *(_stacked(s[::-1 if back else 1], v, axis) for s, v, axis, back in zip(scans, declared, axes, turned))


# --- sequences -------------------------------------------------------------------------------

def _sequence(x):
    if not isinstance(x, list):
        raise OnnxError("the input is no sequence")
    return x


def _place(x, position, end):
    at = end if position is None else int(number(position))
    if not -len(x) <= at <= end:
        raise OnnxError(f"position {at} in a sequence of {len(x)}")
    return at


@operator("SequenceEmpty", lists=True)
def _(node, context):
    return []


@operator("SequenceConstruct", lists=True)
def _(node, context, *xs):
    return list(xs)


@operator("SequenceInsert", lists=True)
def _(node, context, sequence, x, position=None):
    made = list(_sequence(sequence))
    made.insert(_place(made, position, len(made)), x)
    return made


@operator("SequenceErase", lists=True)
def _(node, context, sequence, position=None):
    made = list(_sequence(sequence))
    del made[_place(made, position, len(made) - 1)]
    return made


@operator("SequenceAt", lists=True)
def _(node, context, sequence, position):
    return _sequence(sequence)[_place(sequence, position, len(sequence) - 1)]


@operator("SequenceLength", lists=True)
def _(node, context, sequence):
    return on_host(np.array(len(_sequence(sequence)), np.int64))


@operator("ConcatFromSequence", lists=True)
def _(node, context, sequence):
    xs = [x.to(context.device) for x in _sequence(sequence)]
    return (ops.stack if node.get("new_axis") else ops.concatenate)(xs, node.get("axis"))


@operator("SplitToSequence", lists=True)
def _(node, context, x, sizes=None):
    axis = axis_of(node, x.ndim)
    if sizes is None:
        parts = ops.split(x, axis)
        return [ops.unsqueeze(p, axis) for p in parts] if node.get("keepdims") else list(parts)
    n = x.shape[axis]
    if sizes.ndim:
        return list(ops.split(x, axis, ints(sizes)))
    (each,) = ints(sizes)
    if each < 1:
        raise OnnxError(f"parts of {each}")
    return list(ops.split(x, axis, [min(each, n - at) for at in range(0, n, each)]))


@operator("SequenceMap", controls=True)
def _(node, context, scope, *inputs):
    first = _sequence(inputs[0])
    rows = [[x[i] if isinstance(x, list) else x for x in inputs] for i in range(len(first))]
    results = [context.run(node.get("body"), scope, row) for row in rows]
    return tuple([r[k] for r in results] for k in range(len(node.outputs)))


# --- optionals -------------------------------------------------------------------------------

@operator("Optional", lists=True)
def _(node, context, x=None):
    return x


@operator("OptionalHasElement", lists=True)
def _(node, context, x=None):
    return on_host(np.array(x is not None))
