"""Tunables of the OpenCL kernels: one dataclass, looked up by class of device, vendor, architecture and device.

Every number here changes speed (and, through the order of sums, last bits), never the meaning.
"""
import dataclasses
import functools
import json
import os
import pathlib

from .folders import user_folder

TUNED = pathlib.Path(__file__).with_name("tuned")


@dataclasses.dataclass(frozen=True)
class Params:
    """What the launch code asks a device for."""

    map_group: int = 256        # work-items of a group in elementwise kernels
    vector: int = 4             # floats in a vector register, or in one load of a GPU lane
    # gather-GEMM: a work-item computes tile_m rows by tile_n vectors, a group is group_m x group_n items
    tile_m: int = 8
    tile_n: int = 1
    group_m: int = 8
    group_n: int = 16
    cache_bytes: int = 1 << 20  # of rows that are read again for every panel of columns
    # reductions
    reduce_lanes: int = 64      # work-items that share one contiguous row, 1 = no sharing
    reduce_items: int = 32768   # work-items a reduction is spread over when it has fewer outputs
    reduce_least: int = 256     # elements of a part at least
    double_sums: bool = True    # sum float32 in float64 where the device has it, else compensated

    def valid(self, device):
        """Whether `device` (a pyopencl device) can launch groups of these sizes."""
        most, sizes = device.max_work_group_size, device.max_work_item_sizes
        gemm = (self.group_n, self.group_m)
        return (self.map_group <= min(most, sizes[0]) and self.reduce_lanes <= min(most, sizes[0])
                and gemm[0] * gemm[1] <= most and gemm[0] <= sizes[0] and gemm[1] <= sizes[1]
                and self.reduce_lanes * 32 <= device.local_mem_size
                and self.vector in (1, 2, 4, 8, 16)
                and self.reduce_lanes & (self.reduce_lanes - 1) == 0)


GPU = Params()

# A PoCL-like runtime runs the work-items of a group as a loop on one core: a group is one tile, a
# tile fills the vector registers, and the only parallelism that counts is that of the groups.
CPU = Params(map_group=1024, vector=16, tile_m=8, tile_n=2, group_m=1, group_n=1, cache_bytes=1 << 19,
             reduce_lanes=1, reduce_items=32, reduce_least=4096)

# Runs on anything.
SMALL = Params(map_group=32, vector=4, tile_m=4, tile_n=1, group_m=4, group_n=8, reduce_lanes=16)

CLASSES = {"gpu": GPU, "cpu": CPU, "small": SMALL}
FIELDS = {f.name: type(f.default) for f in dataclasses.fields(Params)}


def lookup(device):
    """The Params for a pyopencl device: what is known of its class, its vendor, its architecture, itself, in this order.

    Each adds to the ones before, unless the device cannot launch that. FASTCONV_CL_PARAMS=gpu, cpu or small takes the
    plain values of a class.
    """
    wanted = os.environ.get("FASTCONV_CL_PARAMS", "").strip().lower()
    if wanted:
        if wanted not in CLASSES:
            raise ValueError(f"FASTCONV_CL_PARAMS={wanted!r} names no class of devices; there are: {', '.join(CLASSES)}")
        if not CLASSES[wanted].valid(device):
            raise ValueError(f"FASTCONV_CL_PARAMS={wanted!r}: {device.name.strip()} cannot launch groups of these sizes")
        return CLASSES[wanted]
    found = _of_class(device)
    for known in _tuned(user_file()):
        for kind, name in names(device).items():
            better = dataclasses.replace(found, **known.get(kind, {}).get(name, {}))
            found = better if better.valid(device) else found
    return found


def _of_class(device):
    import pyopencl as cl
    if device.type & cl.device_type.CPU and not device.type & cl.device_type.GPU:
        width = device.native_vector_width_float or 4
        found = dataclasses.replace(CPU, vector=width, map_group=min(CPU.map_group, device.max_work_group_size),
                                    # 32 registers of AVX-512 hold 8 x 2 accumulators with room, 16 of AVX 6 x 2
                                    tile_m=8 if width >= 16 else 6)
    else:
        found = GPU
    return found if found.valid(device) else SMALL


def names(device):
    """{"vendors": ..., "architectures": ..., "devices": ...}: under which tuned values for a device are found.

    The driver belongs to the device: what is fast, and what is right, with one need not be with another.
    """
    extensions = device.extensions.split()
    if "cl_nv_device_attribute_query" in extensions:
        architecture = f"sm_{device.compute_capability_major_nv}{device.compute_capability_minor_nv}"
    else:       # AMD calls its devices by their architecture: gfx90a:sramecc+:xnack-
        architecture = device.name.strip().split(":")[0]
    return {"vendors": device.vendor.strip(), "architectures": architecture,
            "devices": f"{device.name.strip()}, {device.driver_version.strip()}"}


def user_file():
    """Where a user's own tuned values are: {"devices": {name: {field: value}}, "architectures": ..., "vendors": ...}."""
    folder = user_folder("config")
    return folder and folder / "opencl.json"


@functools.cache
def _tuned(own):
    """The contents of tuned/*.json and then of the user's file."""
    return [_checked(path) for path in (*sorted(TUNED.glob("*.json")), own) if path is not None and path.is_file()]


def _checked(path):
    """A file of tuned values; ValueError that names it when it holds something else."""
    try:
        known = json.loads(path.read_text())
        for kind, entries in known.items():
            if kind not in ("vendors", "architectures", "devices"):
                raise ValueError(f"{kind!r} is not vendors, architectures or devices")
            for name, changes in entries.items():
                for field, value in changes.items():
                    if type(value) is not FIELDS.get(field):
                        raise ValueError(f"{name}: {field} = {value!r} is no tunable; there are: "
                                         + ", ".join(f"{f} ({t.__name__})" for f, t in FIELDS.items()))
    except (ValueError, AttributeError, OSError) as error:
        raise ValueError(f"{path}: {error}") from None
    return known
