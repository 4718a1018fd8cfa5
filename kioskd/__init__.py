"""kioskd replaces a leaked master key in smart cards that are already in people's hands."""
