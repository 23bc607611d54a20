"""The servers that end-to-end tests and benchmarks start: stores, and gateways in front of them."""
