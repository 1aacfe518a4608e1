"""The selftest for oclgrind, which tests/oclgrind.sh runs: memory is never given back.

oclgrind's record of what was written stays when a buffer is released, with its size: a larger buffer that gets the
same place would look unwritten behind that.
"""
import sys

from fastconv import __main__ as command
from fastconv.cl.runtime import Runtime

kept = []
take = Runtime._take_exactly


def take_and_keep(runtime, nbytes):
    kept.append(take(runtime, nbytes))
    return kept[-1]


Runtime._take_exactly = take_and_keep
sys.exit(command.main(["selftest", "--device", "opencl:oclgrind", "--tiny", *sys.argv[1:]]))
