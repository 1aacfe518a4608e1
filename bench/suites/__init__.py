"""The suites: functions of `tiny` (sizes for a test of the bench itself) that return their Cases."""
from . import conv, footprint, gemm, infer, memory, overhead, scaling, train

SUITES = {
    "conv": conv.representative,
    "conv-all": conv.every,
    "gemm": gemm.cases,
    "memory": memory.cases,
    "train": train.cases,
    "infer": infer.cases,
    "overhead": overhead.cases,
    "memory-use": footprint.cases,
    "scaling": scaling.cases,
}
DEFAULT = [name for name in SUITES if name not in ("conv-all", "scaling")]


def find(suite, name, tiny):
    """The Case of that name."""
    return next(case for case in SUITES[suite](tiny) if case.name == name)
