"""s4fs beside plain s3fs on uncompressed objects and beside the reference's s4fs: time, requests and bytes at the store, memory.

`nox -s bench -- s4fs` measures and prints; `--publish` keeps the figures and writes docs/explanation/s4fs.md, `--render` writes the page
again from what is kept. From a working copy: `PYTHONPATH=tests-e2e python -m benchmarks s4fs --rows list --rounds 1`.
"""
