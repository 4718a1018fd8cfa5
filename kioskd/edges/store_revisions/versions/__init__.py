"""The revisions. A new one names its predecessor; `HEAD` of tables.py names the last."""
