#!/usr/bin/env bash
# Runs the tests on every device found; the arguments are pytest's (-n 0: in one process). Without an OpenCL device, Debian's
# PoCL (OpenCL on the CPU) is installed first.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/venv.sh"
prepare test,opencl

has_opencl() {
    "$python" -c "import sys, pyopencl as cl; sys.exit(not any(p.get_devices() for p in cl.get_platforms()))" 2>/dev/null
}
if ! has_opencl; then
    echo "no OpenCL device found: installing PoCL ..." >&2
    apt_install pocl-opencl-icd || echo "could not install it" >&2
    has_opencl || echo "still no OpenCL device: its tests will be left out" >&2
fi
exec "$python" -m pytest -n auto "$@"
