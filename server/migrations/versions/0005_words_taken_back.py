"""Feedback can be taken back, and indexes hold only the rows that are looked for in them."""

import sqlalchemy as sa
from alembic import op

from server.migrations.columns import Text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NEW = (
    ("feedback_retracts", "feedback", ["tenant", "retracts"], "retracts"),
    ("interaction_compared", "interaction", ["channel", "received_at"], "comparison"),
)
NARROWED = (
    ("interaction_comparison", "interaction", ["comparison"], "comparison"),
    ("interaction_trial", "interaction", ["trial", "received_at"], "trial"),
)
"""They held a row for each interaction, nearly all of them with null."""


def upgrade() -> None:
    op.add_column("feedback", sa.Column("retracts", Text))
    for name, table, _, _ in NARROWED:
        op.drop_index(name, table)
    for name, table, columns, wanted in (*NEW, *NARROWED):
        present = sa.text(f"{wanted} IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=present, postgresql_where=present)


def downgrade() -> None:
    for name, table, _, _ in (*NEW, *NARROWED):
        op.drop_index(name, table)
    for name, table, columns, _ in NARROWED:
        op.create_index(name, table, columns)
    op.drop_column("feedback", "retracts")
