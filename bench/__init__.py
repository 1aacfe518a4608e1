"""Benchmarks that run on any device: `python -m bench --help`."""
