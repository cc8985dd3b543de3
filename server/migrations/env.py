"""Alembic's entry point; uses the connection that `server.database.migrate` passes."""

from alembic import context
from sqlmodel import SQLModel

import adapters.models
import feedback.models
import retrain.models
import server.models

TABLES = (adapters.models, feedback.models, retrain.models, server.models)
"""Imported for their tables: `SQLModel.metadata` knows what was imported."""

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
