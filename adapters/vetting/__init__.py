"""Vetting: checks of an adapter's files, which are read as data and never executed."""
