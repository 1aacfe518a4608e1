"""Weights and checkpoints: one safetensors file, written so that a crash leaves the old one or the new one whole."""
import contextlib
import json
import os

import numpy as np

from .array import Array, array
from .tensor import Tensor

_FORMAT = "fastconv checkpoint 1"


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError('weights and checkpoints need the safetensors package: pip install "fastconv[models]"') from None
    return safetensors


def save(tensors, path):
    """Write tensors by name to a safetensors file, which any library that knows the format reads.

    tensors  a Module (its state_dict), or a dict of name -> Tensor, Array or NumPy array
    path     the file; it is written beside `path`, flushed to disk, and renamed over it

    TypeError for what is no array, before anything is written.

    >>> import fastconv as fc, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> fc.save(fc.nn.Linear(2, 1), path)
    >>> sorted((name, w.shape) for name, w in fc.load(path).items())
    [('bias', (1,)), ('weight', (1, 2))]
    """
    state = tensors.state_dict() if hasattr(tensors, "state_dict") else tensors
    if not isinstance(state, dict):
        raise TypeError(f"save takes a Module or a dict of tensors, not {type(tensors).__name__}")
    values: dict = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, (Tensor, Array, np.ndarray)):
            raise TypeError(f"save: {name!r} is a {type(value).__name__}; tensors have names and are Tensors, Arrays or "
                            "NumPy arrays")
        _split(value, name, values)
    _write_atomically(os.fspath(path), _safetensors().numpy.save(values))


def load(path, device=None):
    """The tensors of a safetensors file by name, as Arrays on `device` (default: the default device).

    float16 and bfloat16 become float32; ValueError that names the file, or the entry whose dtype has no
    kernels here. `module.load_state_dict(fc.load(path))` puts them into a model.
    """
    path, safetensors, found = os.fspath(path), _safetensors(), {}
    try:
        with open(path, "rb") as file:
            entries = safetensors.deserialize(file.read())
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS:
            raise ValueError(f"{path}: {name} has dtype {entry['dtype']}, which has no kernels here")
        stored = np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]])
        if entry["dtype"] == "BF16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        found[name] = array(stored.reshape(entry["shape"]), device=device)
    return found


# What safetensors calls the dtypes; a bfloat16 is the upper half of a float32.
_SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
                "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


def save_checkpoint(path, **parts):
    """Write parts by name to `path`: objects with state_dict(), or dicts and lists of plain values.

    Arrays become tensors of the safetensors file, everything else JSON in its header; nothing is
    pickled. The file is written beside `path`, flushed to disk, and renamed over it.

    >>> import fastconv as fc, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> layer = fc.nn.Linear(2, 1)
    >>> fc.save_checkpoint(path, model=layer, progress={"epoch": 3})
    >>> fc.load_checkpoint(path, model=layer)
    {'progress': {'epoch': 3}}
    """
    tensors = {}
    plain = {name: _split(part.state_dict() if hasattr(part, "state_dict") else part, name, tensors)
             for name, part in parts.items()}
    header = {"format": _FORMAT, "parts": json.dumps(plain)}
    data = _safetensors().numpy.save(tensors, metadata=header)
    _write_atomically(os.fspath(path), data)


def load_checkpoint(path, **parts):
    """Restore objects in place (through load_state_dict) from `path`; returns the plain parts.

    ValueError that names the file when it is no checkpoint, is damaged, or lacks a part; the objects
    are untouched unless everything was read.
    """
    path = os.fspath(path)
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from None
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path}: a safetensors file, but not a fastconv checkpoint")
    try:
        plain = json.loads(header["parts"])
        states = {name: _join(value, tensors) for name, value in plain.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: a damaged checkpoint ({error!r})") from None
    missing = [name for name in parts if name not in states]
    if missing:
        raise ValueError(f"{path}: has no part {', '.join(missing)}; there are {', '.join(states)}")
    for name, part in parts.items():
        part.load_state_dict(states.pop(name))
    return states


def _split(value, where, tensors):
    """`value` as JSON, its arrays moved into `tensors` under their path."""
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, (Array, np.ndarray)):
        # safetensors writes the raw buffer: it must be contiguous.
        array = value.numpy() if isinstance(value, Array) else value
        tensors[where] = np.ascontiguousarray(array).reshape(array.shape)
        return {"tensor": where}
    if isinstance(value, dict):
        return {"dict": {str(k): _split(v, f"{where}.{k}", tensors) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_split(v, f"{where}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{where}: a {type(value).__name__} cannot be saved in a checkpoint")


def _join(value, tensors):
    if isinstance(value, list):
        return [_join(v, tensors) for v in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _join(v, tensors) for k, v in value["dict"].items()}
    return value


def _write_atomically(path, data):
    folder = os.path.dirname(os.path.abspath(path))
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
