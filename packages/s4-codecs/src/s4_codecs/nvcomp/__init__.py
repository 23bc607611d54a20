"""Payloads of the `nvcomp-*` codecs."""
