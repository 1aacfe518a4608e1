#!/usr/bin/env bash
# Runs every OpenCL kernel on tiny shapes in a simulator that reports data races, accesses out of bounds and uninitialised
# reads; one report, or one wrong result, is a failure. First as on a phone (work-groups of 64 items, 16 KiB of local
# memory), then with the tunables of GPUs and of CPUs. Arguments are the selftest's: --only matmul conv
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/venv.sh"
prepare test,opencl
command -v oclgrind >/dev/null || apt_install oclgrind

# Memory from a pool would hide what is not written and where a buffer ends. The package is that of the checkout.
export PYTHONPATH=. FASTCONV_CL_CACHE=0 FASTCONV_CL_DEBUG=1 PYOPENCL_BUILD_OPTIONS=-cl-opt-disable
reports=$(mktemp)
trap 'rm -f "$reports"' EXIT
status=0
for setting in "small 64 16384" "gpu 256 32768" "cpu 1024 32768"; do
    read -r class group memory <<< "$setting"
    echo "== tunables: $class, work-groups of $group items, $memory bytes of local memory"
    FASTCONV_CL_PARAMS=$class oclgrind --data-races --uninitialized --max-errors 100 --log "$reports" \
        --max-wgsize "$group" --local-mem-size "$memory" \
        "$python" tests/oclgrind.py "$@" || status=1
    if [ -s "$reports" ]; then
        cat "$reports"
        status=1
    fi
done
exit $status
