"""Column types of migrations, where the databases differ."""

import sqlalchemy as sa

Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
"""For every column of text. Sorted byte by byte, as SQLite does and Python: what comes first must
not depend on how somebody's PostgreSQL was set up."""
