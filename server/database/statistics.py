"""Statistics of the query planner, which it needs to choose the best index."""

from sqlalchemy import Connection

ANALYSIS_LIMIT = 1_000
"""Entries of each index that SQLite samples; takes milliseconds whatever the size of the log."""


def renew_statistics(connection: Connection) -> None:
    """Update SQLite's statistics; PostgreSQL's autovacuum does it by itself.

    Open connections reload statistics only after a schema change, so the table is dropped first.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYSIS_LIMIT}")
        connection.exec_driver_sql("DROP TABLE IF EXISTS sqlite_stat1")
        connection.exec_driver_sql("ANALYZE")


def renew_after_bulk_load(connection: Connection) -> None:
    """Update the statistics on PostgreSQL too, where autovacuum would run only minutes later."""
    if connection.dialect.name == "sqlite":
        renew_statistics(connection)
    else:
        connection.exec_driver_sql("ANALYZE")
