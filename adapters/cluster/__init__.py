"""Coordination of servers that share a database: membership, load requests, reconciliation."""
