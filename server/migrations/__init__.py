"""Alembic's folder: run by `server.migrate`."""
