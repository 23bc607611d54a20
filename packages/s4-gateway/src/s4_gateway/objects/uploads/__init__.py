"""Multipart uploads without a floor on compressed part sizes: all state is immutable records in the store (data-paths.md section 3)."""
