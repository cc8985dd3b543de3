"""Answers keep the message that was served: tool calls, reasoning, refusals."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("choice", sa.Column("message", sa.JSON()))


def downgrade() -> None:
    op.drop_column("choice", "message")
