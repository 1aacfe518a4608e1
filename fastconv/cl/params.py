"""Tunables of the OpenCL kernels: one dataclass, looked up by device, then vendor, then class of device.

Every number here changes speed (and, through the order of sums, last bits), never the meaning.
"""
import dataclasses
import functools
import json
import pathlib

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

VENDORS: dict = {}                    # {part of the vendor's name, lower case: {field: value}}


def lookup(device):
    """The Params for a pyopencl device."""
    import pyopencl as cl
    if device.type & cl.device_type.CPU:
        width = device.native_vector_width_float or 4
        params = dataclasses.replace(CPU, vector=width, map_group=min(CPU.map_group, device.max_work_group_size),
                                     # 32 registers of AVX-512 hold 8 x 2 accumulators with room, 16 of AVX 6 x 2
                                     tile_m=8 if width >= 16 else 6)
    else:
        params = GPU
    for part, changes in VENDORS.items():
        if part in device.vendor.lower():
            params = dataclasses.replace(params, **changes)
    for name, changes in _tuned().items():
        if name == device.name:
            params = dataclasses.replace(params, **changes)
    return params if params.valid(device) else SMALL


@functools.cache
def _tuned():
    """{device name: {field: value}} from tuned/*.json."""
    found = {}
    for path in sorted(TUNED.glob("*.json")):
        found.update(json.loads(path.read_text()))
    return found
