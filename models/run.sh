#!/usr/bin/env bash
# Trains a network; the arguments are those of `python -m models.train`, without any a small CNN on digits.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/venv.sh"
case "$* ${FASTCONV_DEVICE:-}" in
    *opencl*) prepare models,opencl ;;
    *)        prepare models ;;
esac
exec "$python" -m models.train "$@"
