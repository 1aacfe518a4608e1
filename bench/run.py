"""Measure fastconv on a device, side by side with its peers.

    python -m bench                                 every suite on the default device
    python -m bench --suite train conv --compare torch --device opencl

Correctness is checked before anything is timed; contestants alternate within one run; the figures
are medians. A ratio above 1 means fastconv is faster.
"""
import argparse
import json
import os
import platform
import sys

os.environ.pop("OPENBLAS_CORETYPE", None)       # give NumPy its best kernels

import fastconv as fc  # noqa: E402
from bench.suites import SUITES  # noqa: E402
from bench.timing import alternate  # noqa: E402


def measure(work, rounds, progress):
    """One row of the table as a dict."""
    error = work.check() if work.check else None
    if error is not None and not error < 1e-3:
        raise SystemExit(f"{work.name}: relative error {error:.2e} against the peer; nothing was timed")
    timings = alternate(work.calls, rounds, progress=progress)
    mine = timings["fastconv"]
    row = {"case": work.name, "ms": mine.median * 1e3, "spread": mine.spread, "error": error}
    if work.flops:
        row["gflops"] = work.flops / mine.median / 1e9
    if work.items:
        count, what = work.items
        row[f"{what}/s"] = count / mine.median
    for name, timing in timings.items():
        if name != "fastconv":
            row[f"{name} ms"] = timing.median * 1e3
            row[f"{name}/fastconv"] = timing.median / mine.median
    return row


def show(row):
    parts = [f"{row['case']:<28}{row['ms']:10.3f} ms ±{row['spread'] * 50:3.0f} %"]
    for key, value in row.items():
        if key == "gflops":
            parts.append(f"{value:7.0f} GFLOP/s")
        elif key.endswith("/s") and key != "gflops":
            parts.append(f"{value:9.0f} {key}")
        elif "/fastconv" in key:
            parts.append(f"{key} {value:6.2f}")
    return "  ".join(parts)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", nargs="+", choices=sorted(SUITES), default=sorted(SUITES))
    parser.add_argument("--device", default=None, help="cpu, opencl, opencl:0, opencl:<name>, reference")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--compare", default="", help="peers, by comma: torch, numpy")
    parser.add_argument("--rounds", type=int, default=9, help="timed turns of each contestant")
    parser.add_argument("--json", help="write the rows to this file")
    args = parser.parse_args(argv)
    from tqdm import tqdm
    if args.device:
        fc.set_default_device(args.device)
    device = fc.default_device()
    peers = [p for p in args.compare.split(",") if p]
    print(f"fastconv {fc.__version__} on {device.name}, {fc.get_num_threads()} CPU threads, {platform.platform()}")
    rows = []
    for suite in args.suite:
        for work in SUITES[suite](device, peers):
            if args.only not in work.name:
                continue
            with tqdm(total=args.rounds, desc=work.name, leave=False) as bar:
                row = measure(work, args.rounds, bar.update)
            rows.append(row)
            print(show(row), flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"device": device.name, "version": fc.__version__, "rows": rows}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
