"""What Alembic runs for every upgrade: the steps that are missing, inside of the transaction that the caller has begun."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
