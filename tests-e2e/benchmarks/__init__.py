"""Load and ratio: gateways against the backends they stand on, in one run. Never a test: `nox -s bench` prints a table and writes JSON."""
