# Sourced by models/run.sh and tests/run.sh. `prepare EXTRAS` makes .venv in the checkout, installs
# fastconv[EXTRAS] into it (editable: Python files take effect at once) and again when a source that is
# compiled has changed, and sets $python.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

apt_install() {
    if ! command -v apt-get >/dev/null; then
        echo "Please install what Debian calls: $*" >&2
        return 1
    fi
    local root=""
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

prepare() {
    local extras=$1 missing=() sum
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    python3 -c "import ensurepip, venv" 2>/dev/null || missing+=(python3-venv)
    python3 -c "import sysconfig; open(sysconfig.get_path('include') + '/Python.h')" 2>/dev/null || missing+=(python3-dev)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"

    python=$PWD/.venv/bin/python
    "$python" -c "import pip" 2>/dev/null || python3 -m venv --clear .venv
    sum=$({ echo "$PWD $("$python" -V) ${FASTCONV_NO_OPENMP:-} ${FASTCONV_DEBUG:-}"; cat setup.py pyproject.toml fastconv/scalar_ops.h fastconv/float_math.h fastconv/winograd_math.h
            find fastconv/_cy \( -name '*.pyx' -o -name '*.pxd' -o -path '*/kernels/*.[ch]' \) -print0 | sort -z | xargs -0 cat
          } | cksum)
    if [ "$(cat ".venv/installed-$extras" 2>/dev/null)" != "$sum" ]; then
        echo "installing fastconv[$extras] into .venv ..." >&2
        "$python" -m pip install -q --disable-pip-version-check -e ".[$extras]"
        echo "$sum" > ".venv/installed-$extras"
    fi
}
