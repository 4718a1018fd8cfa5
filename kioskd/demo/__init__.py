"""A whole installation on one machine, for `make demo`, the tests and the benches."""
