"""What tests and benchmarks of codecs need: the named workloads (`workloads`), and the suite that every codec passes (`contract`).

`contract` needs pytest and hypothesis (extra `testing`); `workloads` needs nothing more than this package.
"""
