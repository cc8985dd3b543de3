"""Fault scenarios: kills, hangs, full disks, outages."""
