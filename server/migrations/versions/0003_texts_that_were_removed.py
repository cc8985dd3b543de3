"""Rows say when their texts were removed; those that still have some are found by their age."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WITH_TEXTS = sa.text("texts_removed_at IS NULL")
TABLES = ("interaction", "feedback")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("texts_removed_at", sa.DateTime(timezone=True)))
        op.create_index(
            f"{table}_texts",
            table,
            ["received_at"],
            sqlite_where=WITH_TEXTS,
            postgresql_where=WITH_TEXTS,
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"{table}_texts", table)
        op.drop_column(table, "texts_removed_at")
