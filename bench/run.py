"""Measure fastconv on a device, side by side with its peers.

    python -m bench                                       every suite but conv-all and scaling, PyTorch beside it
    python -m bench --suite conv gemm --device opencl     two suites on an OpenCL device
    python -m bench --only 56x56 --compare torch,numpy --json out.json --html report.html
    python -m bench --suite conv --part 1/8 --json p1.json         an eighth of it
    python -m bench --from p*.json --report docs/performance.md    tables from earlier runs

Every contestant runs in a process of its own, with as many threads as fastconv, and they take turns. Each
result is checked against NumPy in float64, and the contestants' against each other, before anything is
timed. Times are medians, the spread is the distance of the quartiles; a ratio above 1 means fastconv is faster.

PyTorch appears twice: "torch" as it comes (NCHW), and "torch-best" in a process with huge pages
(THP_MEM_ALLOC_ENABLE=1), channels_last or not, whichever it does faster, and with folded BatchNorm in `infer`.
"""
import argparse
import datetime
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import contest, machine, report  # noqa: E402
from bench.case import relative_error  # noqa: E402
from bench.suites import DEFAULT, SUITES  # noqa: E402

PEERS = {"torch": ("torch", "torch-best"), "torch-cuda": ("torch-cuda",), "numpy": ("numpy",)}
TURN = 0.02             # seconds a turn lasts at least
BUDGET = 0.6            # seconds that the turns of one contestant may take in one case
CALLS = 4               # of a case whose memory is measured


class Bench:
    """One run: its contestants and what they have shown so far."""

    def __init__(self, args):
        self.args = args
        self.contestants = {}
        subject = self.enter("fastconv")
        self.configuration = subject.ask("describe")
        for peer in args.compare:
            for name in PEERS[peer]:
                self.enter(name)
        self.peaks = {}
        self.measure_peaks()
        self.rows = []

    def enter(self, name):
        threads = self.contestants["fastconv"].threads if self.contestants else self.args.threads
        self.contestants[name] = contest.Contestant(name, self.args.device, threads)
        return self.contestants[name]

    def close(self):
        for contestant in self.contestants.values():
            contestant.close()

    def measure_peaks(self):
        """Clocks rise and fall: the roof is the best that was seen before and after."""
        seconds = 0.02 if self.args.tiny else 0.3
        for name, value in self.contestants["fastconv"].ask("peaks", seconds).items():
            self.peaks[name] = max(value, self.peaks.get(name, 0))

    # --- one case

    def run(self, suite, case):
        """Check and time one case; appends its row, which says "failed" where it could not be done."""
        row = {"suite": suite, "case": case.name, "flops": case.flops, "bytes": case.bytes, "roof": case.roof,
               "items": list(case.items), "series": case.series, "at": case.at}
        start = time.perf_counter()
        try:
            (self.weigh if suite == "memory-use" else self.time)(suite, case, row)
        except contest.Failed as failure:
            row["failed"] = failure.line
            if failure.kind == "process":
                self.contestants[failure.who].close()
                self.enter(failure.who)
        row["took"] = time.perf_counter() - start
        self.rows.append(row)
        return row

    def time(self, suite, case, row):
        key = suite, case.name, self.args.tiny
        row["error"] = self.contestants["fastconv"].ask("error", *key)
        if not row["error"] < case.tolerance:
            raise contest.Failed("fastconv", "wrong", f"relative error {row['error']:.1e} against float64; not timed")
        players, results = [], {}
        try:
            for name, contestant in self.contestants.items():
                for variant, once in contestant.ask("prepare", *key).items():
                    players.append((contestant, variant, once))
                    results[name, variant] = contestant.ask("results", variant)
            expected = results[next(iter(results))]
            for (name, variant), found in results.items():
                error = relative_error(found, expected)
                if not error < 10 * case.tolerance:
                    raise contest.Failed(name, "differs", f"{variant} is {error:.1e} away from fastconv; not timed".strip())
            taken = contest.alternate(players, self.args.rounds, TURN, BUDGET)
        finally:
            for contestant in self.contestants.values():
                if contestant.alive:
                    contestant.ask("drop")
        row["times"] = {f"{player.name}/{variant}" if variant else player.name: contest.summary(seconds)
                        for (player, variant, _), seconds in zip(players, taken)}

    def weigh(self, suite, case, row):
        """Peak resident memory, each contestant afresh."""
        row["memory"] = {}
        for name in self.contestants:
            if name == "numpy":
                continue
            fresh = contest.Contestant(name, self.args.device, self.contestants["fastconv"].threads)
            try:
                row["memory"][name] = fresh.ask("footprint", suite, case.name, self.args.tiny, CALLS)
            finally:
                fresh.close()

    # --- what comes out

    def data(self):
        return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
                "machine": machine.describe(), "threads": self.contestants["fastconv"].threads, **self.configuration,
                "versions": {name: c.version for name, c in self.contestants.items()},
                "peaks": self.peaks, "rows": self.rows}


def select(args):
    """[(suite, case)] that the arguments ask for."""
    cases = ((suite, case) for suite in args.suite for case in SUITES[suite](args.tiny))
    chosen = [(suite, case) for suite, case in cases if args.only.lower() in case.name.lower()]
    part, parts = args.part
    chosen = chosen[part - 1::parts]
    if not chosen:
        raise SystemExit(f"python -m bench: error: no case of {', '.join(args.suite)} matches --only {args.only!r} "
                         f"--part {part}/{parts}")
    return chosen


def measure(args):
    """Run what the arguments ask for, printing as it goes; returns what --json writes."""
    from tqdm import tqdm
    chosen = select(args)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if os.environ.get(name):
            print(f"note: {name}={os.environ[name]} is set; the peers run without it", file=sys.stderr)
    try:
        bench = Bench(args)
    except contest.Failed as failure:
        raise SystemExit(f"python -m bench: error: {failure.line}") from None
    try:
        print(report.heading(bench.data()))
        before = None
        with tqdm(chosen, unit="case", leave=False, disable=None) as bar:
            for suite, case in bar:
                bar.set_description(f"{suite}: {case.name}"[:60])
                row = bench.run(suite, case)
                if suite != before:
                    tqdm.write(f"\n{suite}")
                    before = suite
                tqdm.write(report.line(row, bench.peaks))
        bench.measure_peaks()
        return bench.data()
    finally:
        bench.close()


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", nargs="+", choices=list(SUITES), default=DEFAULT, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--scaling", action="store_true", help="the suite `scaling` (as well, when --suite is given)")
    parser.add_argument("--device", default=None, help="cpu, opencl, opencl:0, opencl:<name>, reference")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="every N-th case, from the I-th on")
    parser.add_argument("--compare", type=_peers, default=None, metavar="PEERS",
                        help=f"by comma: {', '.join(PEERS)}; \"\" for none (default: torch for the CPU, if installed)")
    parser.add_argument("--rounds", type=_positive, default=7, help="turns of each contestant (default 7)")
    parser.add_argument("--threads", type=_positive, default=0, help="of every contestant (default: every core)")
    parser.add_argument("--json", metavar="FILE", help="write the measurements")
    parser.add_argument("--html", metavar="FILE", help="write a page with tables and plots")
    parser.add_argument("--report", metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--from", nargs="+", metavar="FILE", dest="sources", help="take measurements from earlier --json files")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)      # sizes for the tests of this program
    args = parser.parse_args(argv)
    if args.scaling:
        args.suite = ["scaling"] if args.suite is DEFAULT else [*args.suite, "scaling"]
    if args.compare is None:
        on_cpu = (args.device or os.environ.get("FASTCONV_DEVICE") or "cpu") == "cpu"
        args.compare = ["torch"] if on_cpu and importlib.util.find_spec("torch") else []
    return args


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _part(text):
    part, slash, parts = text.partition("/")
    if not (part.isdigit() and slash and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1/8")
    return int(part), int(parts)


def _peers(text):
    peers = [p for p in text.split(",") if p]
    for peer in peers:
        if peer not in PEERS:
            raise argparse.ArgumentTypeError(f"no peer {peer!r}: there are {', '.join(PEERS)}")
    return peers


def main(argv=None):
    args = parse(argv)
    if args.sources:
        try:
            data = report.merge([json.loads(Path(source).read_text()) for source in args.sources])
        except (OSError, ValueError) as error:
            raise SystemExit(f"python -m bench: error: {error}") from None
    else:
        data = measure(args)
    print(report.summary(data))
    if args.json:
        Path(args.json).write_text(json.dumps(data, indent=1) + "\n")
    if args.report:
        Path(args.report).write_text(report.markdown(data))
    if args.html:
        from bench import page
        Path(args.html).write_text(page.html(data))
    return 1 if any("failed" in row for row in data["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
