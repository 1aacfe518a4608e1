"""Which OpenCL devices there are, which of them can be used and why the others cannot, and which to prefer.

One device or platform that fails hides no other: what it raised becomes part of the list.
"""
import dataclasses
import re

from . import params

OLDEST = (1, 2)
NO_PLATFORM = -1001         # CL_PLATFORM_NOT_FOUND_KHR, what the loader says instead of an empty list
# Platforms that compute on the CPU, or through another driver, whatever type of device they report.
EMULATORS = ("oclgrind", "llvmpipe", "swiftshader", "basic render")
LAYERS = ("openclon12", "clvk", "clon12")
# What the kernels can use; none of them is required.
EXTENSIONS = ("cl_khr_fp64", "cl_khr_fp16", "cl_khr_subgroups", "cl_intel_subgroups", "cl_nv_device_attribute_query",
              "cl_amd_device_attribute_query")


@dataclasses.dataclass(frozen=True)
class Found:
    """One device, counted over all platforms: `index`; and as pyopencl counts: platform, then device."""

    index: int
    platform: int
    place: int
    cl_device: object
    name: str
    platform_name: str
    problems: tuple         # why it cannot be used; () when it can
    score: tuple            # larger is better; the first difference says why

    def __str__(self):
        return f"opencl:{self.index} {self.name} ({self.platform_name})"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A platform whose devices cannot be listed."""

    platform: int
    platform_name: str
    message: str

    def __str__(self):
        return f"platform {self.platform} {self.platform_name}: {self.message}"


def look():
    """([Found...], [Failure...]); opens no device. ImportError without pyopencl."""
    import pyopencl as cl
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        if error.code == NO_PLATFORM:
            return [], []
        return [], [Failure(0, "", f"the OpenCL loader fails: {error}")]
    found, failures = [], []
    for number, platform in enumerate(platforms):
        platform_name = "of unknown name"
        try:
            platform_name = platform.name.strip()
            devices = platform.get_devices()
        except Exception as error:      # a broken driver may raise anything, and the others are to be seen
            failures.append(Failure(number, platform_name, f"{type(error).__name__}: {error}"))
            continue
        for place, device in enumerate(devices):
            found.append(_examine(device, len(found), number, place, platform_name))
    return found, failures


def _examine(device, index, platform, place, platform_name):
    name, reasons, points = "of unknown name", (), ()
    try:
        name = device.name.strip()
        reasons, points = tuple(problems(device)), score(device, platform_name)
    except Exception as error:
        reasons = (f"asking for its properties fails: {type(error).__name__}: {error}",)
    return Found(index, platform, place, device, name, platform_name, reasons, points)


def version(text):
    """(major, minor) of "OpenCL 1.2 ..."."""
    found = re.search(r"OpenCL (?:C )?(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else (0, 0)


def problems(device):
    """Why fastconv cannot use this device: a line for each reason."""
    if version(device.version) < OLDEST:
        yield f"{device.version.strip()!r} is older than OpenCL {OLDEST[0]}.{OLDEST[1]}"
    if not device.available:
        yield "the driver says that it is not available"
    if not device.compiler_available:
        yield "it has no compiler for kernels"
    if not device.endian_little:
        yield "it is big-endian"
    if device.profile != "FULL_PROFILE" and "cles_khr_int64" not in device.extensions.split():
        yield "it has no 64-bit integers"
    if not params.SMALL.valid(device):
        yield (f"its work-groups of at most {device.max_work_group_size} items {tuple(device.max_work_item_sizes)} and "
               f"{device.local_mem_size} bytes of local memory are too small")


def score(device, platform_name):
    """What makes a device better, a number for each of SCORES."""
    import pyopencl as cl
    label = f"{platform_name} {device.name}".lower()
    kinds = (cl.device_type.CPU, cl.device_type.ACCELERATOR, cl.device_type.GPU)
    kind = max((place for place, bit in enumerate(kinds, start=1) if device.type & bit), default=0)
    try:
        shared = device.host_unified_memory
    except cl.Error:            # gone from the standard since OpenCL 2.0
        shared = False
    return (int(not any(part in label for part in EMULATORS)), int(not any(part in label for part in LAYERS)), kind,
            int(not shared), device.max_compute_units * max(1, device.max_clock_frequency))


SCORES = ("real", "native", "kind", "own memory", "units times MHz")
REASONS = ("it is a device, not an emulator", "it has a native driver", "a GPU comes before an accelerator before a CPU",
           "it has memory of its own", "it has more compute units times clock")


def best(found):
    """(the usable device to take by default, why), or (None, why not)."""
    usable = [f for f in found if not f.problems]
    if not usable:
        return None, "no usable OpenCL device"
    first, *rest = sorted(usable, key=lambda f: (*(-s for s in f.score), f.index))
    if not rest:
        return first, "it is the only usable OpenCL device"
    differs = next((k for k, (a, b) in enumerate(zip(first.score, rest[0].score)) if a != b), None)
    return first, "it comes first among equals" if differs is None else REASONS[differs]


def facts(device):
    """{property: value} of a pyopencl device, for lists and bug reports."""
    import pyopencl as cl
    kinds = [name for name in ("CPU", "GPU", "ACCELERATOR") if device.type & getattr(cl.device_type, name)]
    single = device.single_fp_config
    return {
        "version": device.version.strip(), "driver": device.driver_version.strip(),
        "C version": device.opencl_c_version.strip(), "vendor": device.vendor.strip(),
        "platform version": device.platform.version.strip(), "type": "+".join(kinds) or "other",
        "compute units": device.max_compute_units, "clock in MHz": device.max_clock_frequency,
        "memory in MiB": device.global_mem_size >> 20, "largest buffer in MiB": device.max_mem_alloc_size >> 20,
        "local memory in KiB": device.local_mem_size >> 10, "largest work-group": device.max_work_group_size,
        "work-group sizes": tuple(device.max_work_item_sizes), "bytes of parameters": device.max_parameter_size,
        "floats in a vector": device.native_vector_width_float, "address bits": device.address_bits,
        "float64": bool(device.double_fp_config), "fma": bool(single & cl.device_fp_config.FMA),
        "exact division": bool(single & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT),
        "extensions": tuple(e for e in EXTENSIONS if e in device.extensions.split()),
    }
