"""Tools for test engineers."""
