"""The version of this software, as it tells its peers and its users; and what to do with a file of another one."""

VERSION = "0.1.0"


def written_by_another(found: object, known: object) -> str:
    """The end of the sentence about a file of a version that this software does not know: what to do."""
    return f"is of version {found}, this software knows {known}: install the kioskd again that wrote it"
