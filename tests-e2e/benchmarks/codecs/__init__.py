"""Ratio and speed of every codec on every named workload, beside what the reference publishes.

`nox -s bench -- codecs` measures and prints; `--publish` keeps the figures and writes docs/explanation/codecs.md with its plot, `--render`
writes the page again from what is kept. From a working copy: `PYTHONPATH=tests-e2e python -m benchmarks codecs --mib 8`.
"""
