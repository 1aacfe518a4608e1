"""Reading: bytes to a checked graph in plain Python. Nothing of a file runs, and nothing is believed.

Sizes that a file declares must be covered by the bytes it brings before anything is allocated, other
files must lie in its own folder, names must be defined before they are used, and functions must not
call themselves. What is wrong raises OnnxError with the name of the node or entry.
"""
import math
import os
from dataclasses import dataclass, field

import numpy as np

OLDEST_OPSET, NEWEST_OPSET = 13, 28
DOMAINS = ("", "ai.onnx")
MAX_NODES = 200_000           # after the calls of functions are written out
MAX_DEPTH = 32                  # of graphs in nodes of graphs, and of calls


class OnnxError(ValueError):
    """An ONNX file that cannot be read or run; the message names the node or the entry."""


def _onnx():
    try:
        import onnx
    except ImportError:
        raise ImportError('ONNX files need the onnx package: pip install "fastconv[onnx]"') from None
    return onnx


# --- what a graph is here --------------------------------------------------------------------

@dataclass
class Value:
    """An input or output of a graph: `kind` is tensor, sequence or optional; dtype and shape of the tensor.

    A size in `shape` is an int, or the name of an unknown one, or None; the shape is None when it is not given.
    """

    name: str
    kind: str = "tensor"
    dtype: np.dtype | None = None
    shape: tuple | None = None


@dataclass
class Node:
    """One call of an operator. `body` is the graph of a call of a function that the file defines."""

    op: str
    domain: str
    name: str
    inputs: list
    outputs: list
    attributes: dict
    version: int
    body: object = None
    schema: object = None                          # of an operator whose body depends on its inputs
    proto: object = None                           # its text, attributes filled in
    frees: list = field(default_factory=list)      # values that nothing uses after this node
    overwrites: int | None = None                  # the place of an input whose memory the output may take

    def __str__(self):
        kind = f"{self.domain}.{self.op}" if self.domain not in DOMAINS else self.op
        return f"node {self.name!r} ({kind})" if self.name else f"node {kind} -> {', '.join(self.outputs)}"

    def get(self, name, default=None):
        """The attribute of this name."""
        return self.attributes.get(name, default)


@dataclass
class Graph:
    """Nodes in an order in which every value is made before it is used."""

    name: str
    inputs: list
    outputs: list
    initializers: dict
    nodes: list
    captures: set = field(default_factory=set)     # values of the graphs around it
    constants: dict | None = None                  # the initializers as tensors, once it has run


@dataclass
class Model:
    """A file: its main graph, and where it comes from."""

    graph: Graph
    opsets: dict
    ir_version: int
    producer: str
    reader: object


# --- dtypes and tensors ----------------------------------------------------------------------

def dtype_of(code, what):
    """The np.dtype of an ONNX element type; OnnxError that names `what` for those without kernels here."""
    kinds = _onnx().TensorProto
    found = {kinds.FLOAT: np.float32, kinds.DOUBLE: np.float64, kinds.INT32: np.int32, kinds.INT64: np.int64,
             kinds.UINT8: np.uint8, kinds.BOOL: np.bool_}.get(code)
    if found is None:
        known = code in kinds.DataType.values() and kinds.DataType.Name(code).lower()
        raise OnnxError(f"{what}: dtype {known or f'number {code}'} has no kernels here; there are float32, float64, int32, "
                        "int64, uint8 and bool")
    return np.dtype(found)


def code_of(dtype):
    """The ONNX element type of an np.dtype that fastconv has."""
    kinds = _onnx().TensorProto
    return {"float32": kinds.FLOAT, "float64": kinds.DOUBLE, "int32": kinds.INT32, "int64": kinds.INT64, "uint8": kinds.UINT8,
            "bool": kinds.BOOL}[np.dtype(dtype).name]


def read_tensor(proto, what, folder=None):
    """The values of a TensorProto as a NumPy array; its bytes must be exactly those that its shape needs."""
    if proto.data_type == _onnx().TensorProto.STRING:
        raise OnnxError(f"{what}: strings are not supported")
    dtype, shape = dtype_of(proto.data_type, what), tuple(proto.dims)
    if any(n < 0 for n in shape) or len(shape) > 16:
        raise OnnxError(f"{what}: shape {shape}")
    count = math.prod(shape)
    if proto.data_location == _onnx().TensorProto.EXTERNAL:
        raw = _external(proto, what, folder, count * dtype.itemsize)
    elif proto.HasField("raw_data"):
        raw = proto.raw_data
    else:
        return _typed(proto, what, dtype, shape, count)
    if len(raw) != count * dtype.itemsize:
        raise OnnxError(f"{what}: shape {shape} and dtype {dtype} need {count * dtype.itemsize} bytes, there are {len(raw)}")
    little = np.frombuffer(raw, np.uint8 if dtype == np.bool_ else dtype.newbyteorder("<"))
    return little.reshape(shape).astype(dtype)


def _typed(proto, what, dtype, shape, count):
    """The values of a tensor that holds them in a field of their type."""
    field_of = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
    values = getattr(proto, field_of.get(dtype.name, "int32_data"))
    if len(values) != count:
        raise OnnxError(f"{what}: shape {shape} needs {count} values, there are {len(values)}")
    wide = np.array(values, dtype if dtype.name in field_of else np.int32)
    if dtype == np.uint8 and count and not 0 <= wide.min() <= wide.max() <= 255:
        raise OnnxError(f"{what}: values from {wide.min()} to {wide.max()} in a tensor of dtype uint8")
    return wide.astype(dtype).reshape(shape)


def _external(proto, what, folder, nbytes):
    """The bytes of a tensor in another file, which must lie in the model's folder or below."""
    if folder is None:
        raise OnnxError(f"{what}: its data lies in another file, and the model was not loaded from a path")
    entries = {e.key: e.value for e in proto.external_data}
    location = entries.get("location", "")
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, location))
    if not location or os.path.isabs(location) or os.path.commonpath([root, path]) != root or not os.path.isfile(path):
        raise OnnxError(f"{what}: external data {location!r} is no file in the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", nbytes))
    except ValueError:
        raise OnnxError(f"{what}: external data at {entries.get('offset')!r} of length {entries.get('length')!r}") from None
    size = os.path.getsize(path)
    if offset < 0 or length != nbytes or offset + length > size:
        raise OnnxError(f"{what}: needs {nbytes} bytes; external data names {length} from {offset} on in a file of {size}")
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


# --- the model -------------------------------------------------------------------------------

def read_model(source, known):
    """The Model in a file (path) or in bytes; `known` are the operators that need no definition by others."""
    onnx = _onnx()
    folder = None
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    else:
        folder = os.path.dirname(os.path.abspath(os.fspath(source)))
        with open(source, "rb") as file:
            data = file.read()
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:          # protobuf's classes of errors differ between its implementations
        raise OnnxError(f"not an ONNX model: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:
        raise OnnxError("not an ONNX model: it has no graph or no opset")
    opsets = _opsets(proto.opset_import)
    if proto.ir_version < 3:
        raise OnnxError(f"IR version {proto.ir_version} is too old: 3 is the oldest")
    reader = _Reader(proto, folder, known)
    graph = reader.graph(proto.graph, opsets, set(), {}, ())
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return Model(graph, opsets, proto.ir_version, producer, reader)


def _opsets(imports):
    """{domain: version}, with "" for ONNX's own; OnnxError for versions that nobody has tried."""
    opsets = {"" if o.domain in DOMAINS else o.domain: o.version for o in imports}
    if not 1 <= opsets.get("", OLDEST_OPSET) <= NEWEST_OPSET:
        raise OnnxError(f"opset {opsets['']}: {OLDEST_OPSET} to {NEWEST_OPSET} are supported")
    return opsets


class _Reader:
    """Turns protos into graphs, and counts as it goes so that no file grows beyond measure."""

    def __init__(self, proto, folder, known):
        self.folder, self.known = folder, known
        self.missing = []           # nodes whose operators nobody knows how to run
        self.functions = {}
        for f in getattr(proto, "functions", ()):
            self.functions[f.domain, f.name, getattr(f, "overload", "")] = f
        self.count = 0

    def graph(self, proto, opsets, around, given, calls):
        """A GraphProto; `around` are the names it may see, `given` the attributes of the function call it is in."""
        if len(calls) > MAX_DEPTH:
            raise OnnxError(f"graph {proto.name!r}: nested deeper than {MAX_DEPTH} levels")
        if proto.sparse_initializer:
            raise OnnxError(f"initializer {proto.sparse_initializer[0].values.name!r}: sparse tensors are not supported")
        initializers = {}
        for t in proto.initializer:
            if t.name in initializers or not t.name or isinstance(t.name, bytes):
                raise OnnxError(f"initializer {t.name!r}: the name is missing, no UTF-8, or there twice")
            initializers[t.name] = read_tensor(t, f"initializer {t.name!r}", self.folder)
        inputs = [_value(v, "input") for v in proto.input]
        defined = set(initializers)
        for v in inputs:
            if v.name in defined and v.name not in initializers:
                raise OnnxError(f"input {v.name!r}: the name occurs twice")
            defined.add(v.name)
        outputs = [_value(v, "output") for v in proto.output]
        made = Graph(proto.name, inputs, outputs, initializers, [])
        return self._fill(made, proto.node, opsets, defined, around, given, calls)

    def function(self, proto, node_text, inputs, outputs, given, calls):
        """The body of a FunctionProto, called with these attributes."""
        key = (proto.domain, proto.name, getattr(proto, "overload", ""))
        if key in calls:
            raise OnnxError(f"{node_text}: function {proto.name!r} calls itself")
        if len(calls) > MAX_DEPTH:
            raise OnnxError(f"{node_text}: functions call each other deeper than {MAX_DEPTH} levels")
        if len(inputs) > len(proto.input) or len(outputs) > len(proto.output):
            raise OnnxError(f"{node_text}: {len(inputs)} inputs and {len(outputs)} outputs for function {proto.name!r} with "
                            f"{len(proto.input)} and {len(proto.output)}")
        given = dict(given)
        for default in proto.attribute_proto:
            given.setdefault(default.name, default)
        wanted = [Value(name if given_name else "") for name, given_name in zip(proto.output, outputs)]
        made = Graph(proto.name, [Value(n) for n in proto.input], wanted, {}, [])
        opsets = {"": NEWEST_OPSET, **_opsets(proto.opset_import)}
        return self._fill(made, proto.node, opsets, set(proto.input), set(), given, (*calls, key))

    def _fill(self, made, nodes, opsets, defined, around, given, calls):
        """Read the nodes of a graph; check that each value is defined once, and before it is used."""
        later = {name for n in nodes for name in n.output if name}
        for proto in nodes:
            self.count += 1
            if self.count > MAX_NODES:
                raise OnnxError(f"graph {made.name!r}: more than {MAX_NODES} nodes, counting the calls of functions")
            node = self._node(proto, opsets, defined | around if proto.attribute else defined, given, calls)
            for name in [*node.inputs, *_captured(node)]:
                if name and name not in defined:
                    if name in around:
                        made.captures.add(name)
                        continue
                    why = ("which is made later: the graph has a cycle or is out of order" if name in later else
                           "which nothing makes")
                    raise OnnxError(f"{node}: uses {name!r}, {why}")
            for name in node.outputs:
                if name in defined and name:
                    raise OnnxError(f"{node}: makes {name!r}, which is there already")
                defined.add(name)
            made.nodes.append(node)
        for v in made.outputs:
            if v.name and v.name not in defined:
                if v.name not in around:
                    raise OnnxError(f"output {v.name!r} of graph {made.name!r}: nothing makes it")
                made.captures.add(v.name)
        _plan_memory(made)
        return made

    def _node(self, proto, opsets, visible, given, calls):
        domain = "" if proto.domain in DOMAINS else proto.domain
        if any(isinstance(text, bytes) for text in (proto.op_type, proto.domain, proto.name, *proto.input, *proto.output)):
            raise OnnxError(f"node {proto.name!r} ({proto.op_type!r}): a name that is no UTF-8")
        node = Node(proto.op_type, domain, proto.name, list(proto.input), list(proto.output), {}, opsets.get(domain, 0))
        while node.outputs and not node.outputs[-1]:
            node.outputs.pop()
        while node.inputs and not node.inputs[-1]:
            node.inputs.pop()
        attributes = [given.get(a.ref_attr_name) if a.ref_attr_name else a for a in proto.attribute]
        named = [(a.name, source) for a, source in zip(proto.attribute, attributes) if source is not None]
        function = self.functions.get((proto.domain, proto.op_type, getattr(proto, "overload", "")))
        if function is not None:
            node.body = self.function(function, str(node), node.inputs, node.outputs, dict(named), calls)
            return node
        schema = self._schema(node)
        if schema is None:
            return node
        for name, a in named:
            if name not in schema.attributes or schema.attributes[name].type.value != a.type:
                raise OnnxError(f"{node}: attribute {name!r} is unknown to the operator, or of another type there")
            node.attributes[name] = self._attribute(node, name, a, opsets, visible, given, calls)
        for name, described in schema.attributes.items():
            if name not in node.attributes:
                if described.required:
                    raise OnnxError(f"{node}: lacks attribute {name!r}")
                if described.default_value.type:
                    node.attributes[name] = self._attribute(node, name, described.default_value, opsets, visible, given, calls)
        if len(node.inputs) < schema.min_input or len(node.inputs) > schema.max_input or len(node.outputs) > schema.max_output:
            raise OnnxError(f"{node}: {len(node.inputs)} inputs and {len(node.outputs)} outputs; the operator takes "
                            f"{schema.min_input} to {schema.max_input} and gives up to {schema.max_output}")
        if node.op not in self.known or domain:
            self._define(node, proto, schema, dict(named), calls)
        return node

    def _schema(self, node):
        """What ONNX says of the operator at the opset of the file; None for one that is not supported."""
        defs = _onnx().defs
        try:
            schema = defs.get_schema(node.op, node.version, node.domain)
        except (defs.SchemaError, TypeError):       # TypeError: a version that is no int32, a name that is no UTF-8
            schema = None
        if schema is None or schema.deprecated:
            version = f" at opset {node.version}" if node.version else ", and the file imports no opset of its domain"
            raise OnnxError(f"{node}: there is no such operator{version}")
        if not node.domain and node.version < OLDEST_OPSET:
            later = defs.get_schema(node.op, OLDEST_OPSET, "")
            if later.since_version != schema.since_version:
                raise OnnxError(f"{node}: opset {node.version} is too old, the operator has changed since; convert the file to "
                                f"opset {OLDEST_OPSET} or newer")
        return schema

    def _define(self, node, proto, schema, given, calls):
        """An operator without code here: by the function that ONNX defines it as, else it is missing."""
        if schema.has_function:
            versions = [v for v in schema.function_opset_versions if v <= node.version] or schema.function_opset_versions
            body = _function(schema.get_function_with_opset_version(max(versions)))
            for name, described in schema.attributes.items():
                if described.default_value.type:
                    given.setdefault(name, described.default_value)
            node.body = self.function(body, str(node), node.inputs, node.outputs, given, calls)
        elif schema.has_context_dependent_function:
            node.schema = schema          # the body depends on the dtypes and ranks of its inputs
            node.proto = _onnx().NodeProto()
            node.proto.CopyFrom(proto)
            del node.proto.attribute[:]
            for name, a in given.items():
                node.proto.attribute.add().CopyFrom(a)
                node.proto.attribute[-1].name = name
        else:
            self.missing.append(node)

    def late(self, node, values):
        """The body of an operator whose definition depends on its inputs (arrays or None)."""
        helper, self.count = _onnx().helper, 0
        types = [_onnx().TypeProto() if x is None else helper.make_tensor_type_proto(code_of(x.dtype), x.shape)
                 for x in values]
        versions = node.schema.context_dependent_function_opset_versions
        version = max([v for v in versions if v <= node.version] or versions)
        text = node.schema.get_context_dependent_function_with_opset_version(
            version, node.proto.SerializeToString(), [t.SerializeToString() for t in types])
        return self.function(_function(text), str(node), node.inputs, node.outputs, {a.name: a for a in node.proto.attribute}, ())

    def _attribute(self, node, name, a, opsets, visible, given, calls):
        kinds = _onnx().AttributeProto
        what = f"{node}, attribute {name!r}"
        if a.type == kinds.INT:
            return a.i
        if a.type == kinds.FLOAT:
            return a.f
        if a.type == kinds.STRING:
            return a.s.decode("utf-8", "replace")
        if a.type == kinds.INTS:
            return tuple(a.ints)
        if a.type == kinds.FLOATS:
            return tuple(a.floats)
        if a.type == kinds.STRINGS:
            return tuple(s.decode("utf-8", "replace") for s in a.strings)
        if a.type == kinds.TENSOR:
            return read_tensor(a.t, what, self.folder)
        if a.type == kinds.GRAPH:
            return self.graph(a.g, opsets, visible, given, (*calls, "graph"))
        if a.type == kinds.TYPE_PROTO:
            return _typed_value(a.tp, name, what)
        raise OnnxError(f"{what}: attributes of type {kinds.AttributeType.Name(a.type)} are not supported")


def _function(text):
    """A FunctionProto from its bytes."""
    proto = _onnx().FunctionProto()
    proto.ParseFromString(text)
    return proto


def _captured(node):
    """What the graphs in a node's attributes use of the graphs around them."""
    return sorted({name for value in node.attributes.values() if isinstance(value, Graph) for name in value.captures})


# Operators whose first output is memory of its own, and those that can write it over an input of theirs.
FRESH = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization", "Add", "Sub", "Mul", "Div",
         "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Relu", "Clip"}
IN_PLACE = {"Relu": (0,), "Clip": (0,), "Add": (0, 1)}


def _plan_memory(graph):
    """Tell each node which values it is the last to use, so that their memory serves the next, or itself."""
    kept, last, uses, fresh = {v.name for v in graph.outputs}, {}, {}, set()
    for node in graph.nodes:
        for name in [*node.inputs, *_captured(node)]:
            uses[name] = uses.get(name, 0) + 1
    for node in graph.nodes:
        for name in [*node.inputs, *_captured(node), *node.outputs]:
            if name and name not in kept:
                last[name] = node
        if node.domain or node.body is not None:
            continue
        for i in IN_PLACE.get(node.op, ()):
            if i < len(node.inputs) and node.inputs[i] in fresh and uses[node.inputs[i]] == 1:
                node.overwrites = i
                break
        if node.op in FRESH and node.outputs[0] not in kept:
            fresh.add(node.outputs[0])
    for name, node in last.items():
        node.frees.append(name)


def _value(proto, role):
    if isinstance(proto.name, bytes):
        raise OnnxError(f"{role} {proto.name!r}: a name that is no UTF-8")
    return _typed_value(proto.type, proto.name, f"{role} {proto.name!r}")


def _typed_value(proto, name, what):
    kind = proto.WhichOneof("value")
    if kind is None:
        return Value(name)
    if kind in ("sequence_type", "optional_type"):
        inside = _typed_value(getattr(proto, kind).elem_type, name, what)
        return Value(name, kind.removesuffix("_type"), inside.dtype)
    if kind != "tensor_type":
        raise OnnxError(f"{what}: values of {kind} are not supported")
    tensor = proto.tensor_type
    if not tensor.elem_type:
        return Value(name)
    if tensor.elem_type == _onnx().TensorProto.STRING:
        raise OnnxError(f"{what}: strings are not supported")
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
        if any(isinstance(n, int) and n < 0 for n in shape):
            raise OnnxError(f"{what}: shape {shape}")
    return Value(name, "tensor", dtype_of(tensor.elem_type, what), shape)
