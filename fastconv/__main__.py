"""The command line: what a user asks of an installation (`devices`, `selftest`), and `onnx`."""
import argparse
import json
import os
import platform
import sys
import time

import numpy as np

import fastconv

from . import selftest
from .device import default_device, device, devices, opencl
from .onnx.commands import add_commands as add_onnx_commands

LABEL = 22


def versions():
    """{part: version} of everything that computes."""
    found = {"fastconv": fastconv.__version__, "python": platform.python_version(), "numpy": np.__version__,
             "system": platform.platform()}
    try:
        import pyopencl
        found["pyopencl"] = pyopencl.VERSION_TEXT
    except ImportError as error:
        found["pyopencl"] = f"cannot be imported: {error}"
    return found


def facts(chosen):
    """{property: value} of a fastconv device."""
    if chosen.kind != "opencl":
        return chosen.implementation.config() if chosen.kind == "cpu" else {}
    from .cl import survey
    return survey.facts(chosen.implementation.cl_device)


def rows(values):
    """The lines of a two-column list."""
    def text(value):
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, dict):
            return ", ".join(f"{k} {v}" for k, v in value.items())
        return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return [f"    {key:<{LABEL}}{text(value)}" for key, value in values.items()]


# --- devices

def list_devices(arguments):
    """Print every device, whether it can be used, and which ones are the defaults."""
    report = {"versions": versions(), "devices": [], "failures": []}
    for chosen in devices():
        if chosen.kind != "opencl":
            report["devices"].append({"name": chosen.name, "usable": True, "facts": facts(chosen)})
    _survey(report)
    try:
        report["default for new arrays"] = default_device().name
    except (RuntimeError, ValueError) as error:
        report["default for new arrays"] = f"none: {error}"
    if arguments.json:
        print(json.dumps(report, indent=2, default=str))
        return 0
    for found in report["devices"]:
        print(found["name"])
        usable = "yes" if found["usable"] else "no: " + "; ".join(found["problems"])
        score = {"score": found["score"]} if "score" in found else {}
        print("\n".join(rows({"usable": usable, **score, **found["facts"]})) + "\n")
    for failure in report["failures"]:
        print(f"{failure}\n")
    for key in ("default OpenCL device", "default for new arrays"):
        print(f"{key}: {report[key]}")
    return 0


def _survey(report):
    """Add the OpenCL devices to a report, usable or not, and the default one."""
    from . import cl
    from .cl import survey
    found, failures = cl.look()
    report["failures"] = [str(f) for f in failures]
    for one in found:
        try:
            known = survey.facts(one.cl_device)
        except Exception as error:      # as in the survey: a broken driver may raise anything
            known = {"properties": f"{type(error).__name__}: {error}"}
        report["devices"].append({
            "name": f"opencl:{one.index} {one.name}", "usable": not one.problems, "problems": one.problems,
            "score": dict(zip(survey.SCORES, one.score)),
            "facts": {"platform": f"{one.platform} {one.platform_name}, device {one.place}", **known}})
    try:
        best, why = cl.default()
        report["default OpenCL device"] = f"opencl:{best.index} {best.name}, because {why}"
    except (RuntimeError, ValueError) as error:
        report["default OpenCL device"] = f"none: {error}"


# --- selftest

def run_selftest(arguments):
    """Run the selftest and print a report for a person, or as JSON; status 1 when anything failed."""
    chosen = opencl() if arguments.device is None and _has_opencl() else device(arguments.device or "cpu")
    if arguments.only:
        from .reference import KERNELS
        for kernel in arguments.only:
            if kernel not in KERNELS:
                raise ValueError(f"no kernel {kernel!r}; there are: {', '.join(KERNELS)}")
    start = time.perf_counter()
    show = sys.stderr.isatty() and not arguments.json

    def progress(kernel, done, count):
        # Also without a terminal, where a driver takes the process down: the last line names the kernel.
        if show or kernel != progress.last:
            print(f"\r{done:5} of {count}  {kernel:<20}" if show else f"# {kernel}", end="" if show else "\n",
                  file=sys.stderr, flush=True)
        progress.last = kernel
    progress.last = None
    results = selftest.run(chosen, arguments.tiny, arguments.only, progress)
    if show:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    report = {"versions": versions(), "device": chosen.name, "facts": facts(chosen), "settings": settings(chosen),
              **selftest.summary(results), "seconds": round(time.perf_counter() - start, 1)}
    print(json.dumps(report, indent=2, default=str) if arguments.json else _text(report, results))
    return 1 if report["failed"] else 0


def _has_opencl():
    from . import cl
    return bool(cl.available())


def settings(chosen):
    """Build options, tunables and environment: what else a result depends on."""
    found = {key: value for key, value in os.environ.items()
             if key.startswith(("FASTCONV_", "PYOPENCL_", "POCL_", "OCL_ICD_", "OMP_")) and key != "PYOPENCL_HOME"}
    if chosen.kind == "opencl":
        runtime = chosen.implementation.runtime
        found["build options"] = " ".join(runtime.options)
        found["tunables"] = str(runtime.params)
    return found


def _text(report, results):
    lines = [report["device"], *rows(report["facts"]), *rows(report["settings"]), *rows(report["versions"]), ""]
    for kernel, counts in report["kernels"].items():
        lines.append(f"{kernel:<{LABEL}}" + ", ".join(f"{n} {status}" for status, n in counts.items()))
    failures = [str(r) for r in results if r.status == "failed"]
    if failures:
        lines += ["", *(f"FAILED {failure}" for failure in failures)]
    return "\n".join([*lines, "", f"{report['ok']} ok, {report['failed']} failed, {report['unsupported']} unsupported, "
                                  f"{report['seconds']} s"])


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastconv",
                                     description="Which devices there are, whether they compute right, and ONNX files.")
    commands = parser.add_subparsers(required=True, metavar="command")
    listing = commands.add_parser("devices", help="every device, why it can or cannot be used, and the defaults")
    listing.set_defaults(run=list_devices)
    test = commands.add_parser("selftest", help="run every kernel on a device and compare with the reference")
    test.add_argument("--device", help="cpu, opencl, opencl:0, opencl:NVIDIA ... (default: OpenCL's default, else cpu)")
    test.add_argument("--tiny", action="store_true", help="the smallest shapes, for simulators")
    test.add_argument("--only", nargs="+", metavar="KERNEL", help="these kernels instead of all")
    test.set_defaults(run=run_selftest)
    for command in (listing, test):
        command.add_argument("--json", action="store_true", help="for programs")
    add_onnx_commands(commands)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        print(f"python -m fastconv: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
