"""The benchmark: gateways, the reference's server and the stores they stand on, measured in one run.

Never a test of the product. `nox -s bench` runs all of it; from a working copy, for tuning:

    PYTHONPATH=tests-e2e python -m benchmarks --quick --rows get4k,put4k --stores minio --targets direct,reference,ours

Row, target and store names are those of `--help`. Rounds go round-robin over the targets, so that noise meets all alike, and the
figures are medians. `--run FILE` keeps every sample; the same command goes on where it stopped, so that a long run can be made of
slices (`--budget SECONDS` ends one in time, with exit status 3 while work is left).
"""
