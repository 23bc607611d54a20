"""S3 operations: each takes a checked `Call` and answers a value of `results`. `table.TABLE` lists them all."""
