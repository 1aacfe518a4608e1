"""fastconv: convolutional and recurrent networks on any device."""
from .device import Device, cpu, default_device, devices, opencl, reference, set_default_device  # noqa: I001
from .array import Array, array
