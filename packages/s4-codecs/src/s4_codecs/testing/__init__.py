"""What tests and benchmarks of codecs need: the named workloads (`workloads`), the suite that every codec passes (`contract`), and a codec
that stands in for those of a GPU (`batch`).

`contract` needs pytest and hypothesis (extra `testing`); `workloads` and `batch` need nothing more than this package.
"""
