"""s4fs beside plain s3fs and the reference's s4fs: the same reads and writes through each, with what they cost at the store.

`nox -s bench -- s4fs`. Every measurement is a process of its own (`work`), in the environment of what is measured, over a link that counts.
"""
