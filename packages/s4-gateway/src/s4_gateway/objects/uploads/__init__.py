"""Multipart uploads without a floor on compressed part sizes: all state lies in immutable records in the object store (data-paths.md section 3)."""
