"""The command line: `fastconv onnx show` and `fastconv onnx run`."""
import collections
import os

import numpy as np

from ..autograd import no_grad
from ..device import device as as_device
from ..device import devices
from ..tensor import Tensor
from .graph import load
from .operators import OPERATORS
from .reading import Graph, read_model


def add_commands(subparsers):
    """Enter `onnx show` and `onnx run` below an argparse parser's subparsers."""
    parser = subparsers.add_parser("onnx", help="look into an ONNX file, or run it")
    commands = parser.add_subparsers(required=True)
    show = commands.add_parser("show", help="inputs, operators, parameters, and what is missing to run it")
    show.add_argument("model")
    show.set_defaults(run=lambda args: show_model(args.model))
    run = commands.add_parser("run", help="run it on arrays")
    run.add_argument("model")
    run.add_argument("--input", action="append", default=[], metavar="[NAME=]FILE.npy", help="an input, in order or by name")
    run.add_argument("--output", metavar="FILE", help="write the outputs: one to .npy, several to .npz by name")
    run.add_argument("--device", default=None, help="cpu, opencl, opencl:0, reference ... (default: FASTCONV_DEVICE, else cpu)")
    run.set_defaults(run=lambda args: run_model(args.model, args.input, args.output, args.device))


def run_model(path, inputs, output, device):
    """Run a model on .npy files, print what comes out, and write it. Returns the exit status."""
    model = load(path, None if device is None else as_device(device))
    ordered, named = [], {}
    for item in inputs:
        name, equals, file = item.partition("=")
        if equals and name in {v.name for v in model.model.graph.inputs}:
            named[name] = np.load(file, allow_pickle=False)
        else:
            ordered.append(np.load(item, allow_pickle=False))
    with no_grad():
        results = model(*ordered, **named)
    results = results if isinstance(results, tuple) else (results,)
    values = {v.name: r.numpy() for v, r in zip(model.outputs, results) if isinstance(r, Tensor)}
    for name, value in values.items():
        finite = value[np.isfinite(value)] if value.dtype.kind == "f" else value
        spread = f"  from {finite.min():g} to {finite.max():g}" if finite.size else ""
        print(f"{name}  {value.dtype} {list(value.shape)}{spread}")
    if output and len(values) == 1:
        np.save(output, *values.values())
    elif output:
        np.savez(output, **values)
    return 0


def show_model(path):
    """Print what a model is made of and what is missing to run it. Returns the exit status: 0 when it can run."""
    model = read_model(path, OPERATORS)
    graph = model.graph
    print(f"{os.path.basename(path)}: opset {model.opsets.get('', '-')}, IR version {model.ir_version}, "
          f"by {model.producer or '?'}")
    for word, values in (("input", [v for v in graph.inputs if v.name not in graph.initializers]), ("output", graph.outputs)):
        for v in values:
            print(f"{word:<10}{v.name}  {_described(v)}")
    weights = {n: a for n, a in graph.initializers.items() if a.dtype.kind == "f" and a.ndim}
    print(f"{'weights':<10}{len(weights)}, {sum(a.size for a in weights.values()):,} numbers, "
          f"{sum(a.nbytes for a in weights.values()) / 2 ** 20:.1f} MiB")
    for name, a in weights.items():
        print(f"{'':<10}{name}  {a.dtype} {list(a.shape)}")
    counts = collections.Counter(_operators(graph))
    for op, count in counts.most_common():
        print(f"{'operator':<10}{op}  {count}")
    for node in model.reader.missing:
        print(f"{'missing':<10}{node}: the operator is not supported")
    wide = any(a.dtype == np.float64 for a in graph.initializers.values()) or any(v.dtype == np.float64 for v in graph.inputs)
    for d in devices():
        lacks = "float64" if wide and d.kind == "opencl" and not d.implementation.runtime.has_double else None
        lacks = "the operators above" if model.reader.missing else lacks
        print(f"{'device':<10}{d.name}  {f'lacks {lacks}' if lacks else 'ok'}")
    return 1 if model.reader.missing else 0


def _described(v):
    if v.dtype is None:
        return v.kind
    shape = "" if v.shape is None else f" [{', '.join('?' if n is None else str(n) for n in v.shape)}]"
    return f"{'' if v.kind == 'tensor' else v.kind + ' of '}{v.dtype}{shape}"


def _operators(graph):
    """The operators of a graph and of those in its nodes; a function counts as one."""
    for node in graph.nodes:
        yield node.op if not node.domain else f"{node.domain}.{node.op}"
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from _operators(value)
