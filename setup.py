"""Builds fastconv._cy: Cython modules, and C kernels compiled once per instruction set.

FASTCONV_NO_OPENMP=1   build without OpenMP (kernels run serially)
FASTCONV_DEBUG=1       -O1 -g, bounds checks and assertions
"""
import glob
import os
import platform
import subprocess
import sys
import tempfile
import warnings

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Plain Python that Cython compiles with the types of the .pxd beside it, and the arithmetic below it.
METADATA = ("view.pyx", "modes.pyx", "array.py", "autograd.py", "tensor.py")
PACKAGE = "fastconv/_cy"
KERNELS = f"{PACKAGE}/kernels"
MODULES = ("runtime", "buffer", "strided", "elementwise", "reduce", "norm", "product", "matmul", "runs", "conv",
           "depthwise", "narrow", "weight_grad", "winograd", "pool", "indexing", "softmax", "recurrent", "optim", "machine")
DEBUG = bool(int(os.environ.get("FASTCONV_DEBUG") or 0))
NO_OPENMP = bool(int(os.environ.get("FASTCONV_NO_OPENMP") or 0))

OPTIMISE = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-DNDEBUG"]
# Kernels keep NaN and infinity as they are (no -ffast-math); integers wrap as in NumPy.
KERNEL_FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-fwrapv", "-ffp-contract=fast", "-fopenmp-simd"]
HEADERS = [*glob.glob(f"{KERNELS}/*.h"), "fastconv/scalar_ops.h", "fastconv/float_math.h",
           "fastconv/winograd_math.h"]
# What each instruction set of x86-64 is compiled with, beside the baseline.
X86_ISAS = {
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}

OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel num_threads(2) reduction(+:threads)
    threads += 1;
    return threads < 1 || omp_get_max_threads() < 1;
}
"""


class BuildKernels(build_ext):
    """build_ext that probes for OpenMP and compiles kernels/isa_*.c, each with its own flags."""

    def build_extensions(self):
        compile_openmp, link_openmp = self.probe_openmp()
        for extension in self.extensions:
            extension.extra_compile_args = OPTIMISE + ["-fwrapv"] + compile_openmp
            extension.extra_link_args = link_openmp
        runtime = next(e for e in self.extensions if e.name.endswith("runtime"))
        for isa, flags in self.isas():
            runtime.extra_objects += self.compile_isa(isa, flags)
            runtime.define_macros.append((f"FC_HAVE_{isa.upper()}", "1"))
        super().build_extensions()

    def isas(self):
        """(name, flags) of the instruction sets that this compiler can build for its target."""
        found = [("baseline", [])]
        if platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 2**32:
            found += [(isa, flags) for isa, flags in X86_ISAS.items()
                      if self.accepts(flags, "int main(void) { return 0; }")]
        return found

    def kernel_flags(self):
        return [f for f in KERNEL_FLAGS if self.accepts([f, "-Werror"], "int main(void) { return 0; }")]

    def compile_isa(self, isa, flags):
        """Object files of one instruction set; kept while nothing they are made of is newer."""
        source = f"{KERNELS}/isa_{isa}.c"
        folder = os.path.join(self.build_temp, "debug" if DEBUG else "release")
        objects = self.compiler.object_filenames([source], output_dir=folder)
        newest = max(map(os.path.getmtime, [source, *HEADERS, "setup.py"]))
        if not self.force and all(os.path.exists(o) and os.path.getmtime(o) > newest for o in objects):
            return objects
        pic = [] if os.name == "nt" else ["-fPIC"]
        return self.compiler.compile([source], output_dir=folder,
                                     extra_postargs=OPTIMISE + pic + self.kernel_flags() + flags)

    def probe_openmp(self):
        """Compile and link flags with which a parallel program builds and runs; ([], []) without OpenMP."""
        if NO_OPENMP:
            return [], []
        candidates = [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"]), (["/openmp"], [])]
        for compile_flags, link_flags in candidates:
            if self.accepts(compile_flags, OPENMP_PROBE, link_flags, run=True):
                return compile_flags, link_flags
        warnings.warn("no working OpenMP found: fastconv will use one thread", stacklevel=2)
        return [], []

    def accepts(self, flags, program, link_flags=(), run=False):
        """Whether `program` compiles with `flags`, and, when asked, links and exits with 0."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.c")
            with open(source, "w") as f:
                f.write(program)
            try:
                quiet = os.dup(2)
                with open(os.devnull, "w") as sink:
                    os.dup2(sink.fileno(), 2)
                    try:
                        objects = self.compiler.compile([source], output_dir=folder, extra_postargs=list(flags))
                        if not run:
                            return True
                        program = os.path.join(folder, "probe")
                        self.compiler.link_executable(objects, program, extra_postargs=list(link_flags))
                        return subprocess.run([program], timeout=20).returncode == 0
                    finally:
                        os.dup2(quiet, 2)
                        os.close(quiet)
            except Exception:       # each compiler class of distutils has its own errors
                return False


def extensions():
    from Cython.Build import cythonize
    libraries = [] if os.name == "nt" else ["m"]
    modules = [Extension(f"fastconv._cy.{name}", [f"{PACKAGE}/{name}.pyx"], include_dirs=[PACKAGE, KERNELS],
                         depends=HEADERS + glob.glob(f"{KERNELS}/*.c"), libraries=libraries)
               for name in MODULES if os.path.exists(f"{PACKAGE}/{name}.pyx")]
    directives = {"language_level": 3, "binding": True, "cdivision": True, "boundscheck": DEBUG,
                  "wraparound": False, "initializedcheck": False, "freethreading_compatible": True,
                  "embedsignature": False}
    metadata = [Extension(f"fastconv.{os.path.splitext(name)[0]}", [f"fastconv/{name}"]) for name in METADATA]
    as_python = {**directives, "cdivision": False, "boundscheck": True, "wraparound": True}
    return cythonize(modules, compiler_directives=directives) + cythonize(metadata, compiler_directives=as_python)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
