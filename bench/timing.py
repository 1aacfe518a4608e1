"""Timing side by side: contestants alternate within one run, medians count."""
import statistics
import time


class Timing:
    """Seconds of the timed calls of one contestant."""

    def __init__(self):
        self.seconds = []

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def spread(self):
        """Distance of the quartiles, as a share of the median."""
        if len(self.seconds) < 4:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / self.median


def alternate(contestants, rounds=9, least=0.05, progress=lambda: None):
    """Time {name: call}, taking turns; each turn repeats a call until `least` seconds have passed.

    A call computes and waits for its device. Returns {name: Timing}; the first turn of each is a
    warm-up and not counted.
    """
    repeats = {}
    for name, call in contestants.items():
        call()
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        repeats[name] = max(1, int(least / max(once, 1e-7)))
    timings = {name: Timing() for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            timings[name].seconds.append((time.perf_counter() - start) / repeats[name])
        progress()
    return timings
