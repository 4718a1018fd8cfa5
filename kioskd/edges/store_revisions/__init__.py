"""How the access server's store came to be as it is, one step after the other, for alembic."""
