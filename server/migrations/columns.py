"""Column types of migrations, where the databases differ."""

import sqlalchemy as sa

Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
"""The type of text columns. Sorted byte by byte, as in SQLite and Python, so that the order does
not depend on the PostgreSQL cluster's collation."""
