"""Servers, load and tables that benchmarks share."""
