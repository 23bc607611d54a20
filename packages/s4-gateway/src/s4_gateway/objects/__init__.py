"""Logical objects over stored ones: how bytes become stored bodies and come back (data-paths.md sections 1-4, 6).

Handlers in `operations` talk to `store.ObjectStore`; nothing below knows HTTP.
"""
