"""Codecs on a CUDA device: the only package that knows CUDA.

`probe` says whether there is a device; importing it, or this package, imports nothing of CUDA. `engine` has the pipeline of the process and
is what the codecs use.
"""
