"""The first tables: the log, the registry, the runs, the keys."""

import sqlalchemy as sa
from alembic import op

from server.migrations.columns import Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "api_key",
        sa.Column("id", Text, nullable=False),
        sa.Column("hash", Text, nullable=False),
        sa.Column("role", Text, nullable=False),
        sa.Column("tenant", Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "channel",
        sa.Column("name", Text, nullable=False),
        sa.Column("tenant", Text, nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "feedback",
        sa.Column("tenant", Text, nullable=False),
        sa.Column("id", Text, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interaction_id", Text, nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("metric_name", Text, nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("rater", Text, nullable=True),
        sa.Column("source", Text, nullable=False),
        sa.Column("rationale", Text, nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("key_id", Text, nullable=True),
        sa.Column("digest", Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
    )
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.create_index("feedback_interaction", ["tenant", "interaction_id"], unique=False)
        batch_op.create_index("feedback_rater", ["tenant", "rater"], unique=False)
        batch_op.create_index("feedback_time", ["tenant", "received_at", "id"], unique=False)

    op.create_table(
        "interaction",
        sa.Column("id", Text, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("endpoint", Text, nullable=False),
        sa.Column("mode", Text, nullable=False),
        sa.Column("role", Text, nullable=False),
        sa.Column("requested_model", Text, nullable=False),
        sa.Column("model", Text, nullable=False),
        sa.Column("version", Text, nullable=True),
        sa.Column("base_fingerprint", Text, nullable=True),
        sa.Column("user", Text, nullable=True),
        sa.Column("key_id", Text, nullable=True),
        sa.Column("parent", Text, nullable=True),
        sa.Column("trial", Text, nullable=True),
        sa.Column("trial_share", sa.Float(), nullable=True),
        sa.Column("comparison", Text, nullable=True),
        sa.Column("run_id", Text, nullable=True),
        sa.Column("conversation", Text, nullable=False),
        sa.Column("thread", Text, nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("prompt_token_ids", sa.LargeBinary(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("error", Text, nullable=True),
        sa.Column("first_token_seconds", sa.Float(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("interaction", schema=None) as batch_op:
        batch_op.create_index("interaction_comparison", ["comparison"], unique=False)
        batch_op.create_index("interaction_conversation", ["tenant", "conversation"], unique=False)
        batch_op.create_index("interaction_run_id", ["tenant", "run_id"], unique=True)
        batch_op.create_index(
            "interaction_time", ["tenant", "channel", "mode", "received_at", "id"], unique=False
        )
        batch_op.create_index("interaction_trial", ["trial", "received_at"], unique=False)
        batch_op.create_index(
            "interaction_version", ["channel", "version", "mode", "received_at"], unique=False
        )
        batch_op.create_index("interaction_user", ["tenant", "user"], unique=False)

    op.create_table(
        "rollout",
        sa.Column("version", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("previous", Text, nullable=False),
        sa.Column("run", Text, nullable=True),
        sa.Column("phase", Text, nullable=False),
        sa.Column("trial", Text, nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", Text, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.create_index("rollout_channel", ["channel", "began_at"], unique=False)

    op.create_table(
        "rollout_event",
        sa.Column("id", Text, nullable=False),
        sa.Column("version", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("move", Text, nullable=False),
        sa.Column("phase", Text, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("rollout_event", schema=None) as batch_op:
        batch_op.create_index("rollout_event_version", ["version", "at"], unique=False)

    op.create_table(
        "run",
        sa.Column("id", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("tenant", Text, nullable=False),
        sa.Column("slot", Text, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("trigger", Text, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("step", Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", Text, nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lost_owners", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("parent", Text, nullable=True),
        sa.Column("version", Text, nullable=True),
        sa.Column("cut_off", sa.DateTime(timezone=True), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=True),
        sa.Column("reason", Text, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("channel", "slot", "attempt"),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index("run_channel", ["channel", "created_at"], unique=False)

    op.create_table(
        "secret",
        sa.Column("name", Text, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "trained_text",
        sa.Column("version", Text, nullable=False),
        sa.Column("text_key", Text, nullable=False),
        sa.PrimaryKeyConstraint("version", "text_key"),
    )
    op.create_table(
        "version",
        sa.Column("name", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("parent", Text, nullable=True),
        sa.Column("run", Text, nullable=True),
        sa.Column("base_model", Text, nullable=False),
        sa.Column("base_fingerprint", Text, nullable=False),
        sa.Column("folder", Text, nullable=False),
        sa.Column("digest", Text, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", Text, nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.create_index("version_channel", ["channel", "created_at", "name"], unique=False)

    op.create_table(
        "version_event",
        sa.Column("id", Text, nullable=False),
        sa.Column("version", Text, nullable=False),
        sa.Column("channel", Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_state", Text, nullable=True),
        sa.Column("to_state", Text, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("version_event", schema=None) as batch_op:
        batch_op.create_index("version_event_version", ["version", "at"], unique=False)

    op.create_table(
        "choice",
        sa.Column("interaction_id", Text, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("token_ids", sa.LargeBinary(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("finish_reason", Text, nullable=True),
        sa.ForeignKeyConstraint(["interaction_id"], ["interaction.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("interaction_id", "index"),
    )
    op.create_table(
        "route",
        sa.Column("channel", Text, nullable=False),
        sa.Column("live", Text, nullable=False),
        sa.Column("standby", Text, nullable=True),
        sa.Column("canary", Text, nullable=True),
        sa.Column("canary_share", sa.Float(), nullable=False),
        sa.Column("holdback_share", sa.Float(), nullable=False),
        sa.Column("trial", Text, nullable=False),
        sa.Column("shadow", Text, nullable=True),
        sa.Column("shadow_share", sa.Float(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", Text, nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channel.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("channel"),
    )


def downgrade() -> None:

    op.drop_table("route")
    op.drop_table("choice")
    with op.batch_alter_table("version_event", schema=None) as batch_op:
        batch_op.drop_index("version_event_version")

    op.drop_table("version_event")
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.drop_index("version_channel")

    op.drop_table("version")
    op.drop_table("trained_text")
    op.drop_table("secret")
    op.drop_table("rollout_event")
    op.drop_table("rollout")
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index("run_channel")

    op.drop_table("run")
    with op.batch_alter_table("interaction", schema=None) as batch_op:
        batch_op.drop_index("interaction_user")
        batch_op.drop_index("interaction_time")
        batch_op.drop_index("interaction_run_id")
        batch_op.drop_index("interaction_conversation")
        batch_op.drop_index("interaction_comparison")

    op.drop_table("interaction")
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.drop_index("feedback_time")
        batch_op.drop_index("feedback_rater")
        batch_op.drop_index("feedback_interaction")

    op.drop_table("feedback")
    op.drop_table("channel")
    op.drop_table("api_key")
