"""What the database's planner knows of the tables: without it, it guesses which index is best."""

from sqlalchemy import Connection

ANALYSIS_LIMIT = 1_000
"""Entries of each index that SQLite looks at: some milliseconds, however large the log is."""


def renew_statistics(connection: Connection) -> None:
    """Have SQLite look at its tables; PostgreSQL does so by itself (autovacuum).

    Connections that are open take what is new only with a new schema: so the table is made anew.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYSIS_LIMIT}")
        connection.exec_driver_sql("DROP TABLE IF EXISTS sqlite_stat1")
        connection.exec_driver_sql("ANALYZE")


def renew_after_bulk_load(connection: Connection) -> None:
    """As `renew_statistics`, and on PostgreSQL too: autovacuum would come minutes too late."""
    if connection.dialect.name == "sqlite":
        renew_statistics(connection)
    else:
        connection.exec_driver_sql("ANALYZE")
