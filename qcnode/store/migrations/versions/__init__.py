"""The steps. Alembic reads these files; nothing imports them."""
