"""Card profiles in YAML: one file a family, all of a folder for a server; one sentence for whatever is wrong."""

from pathlib import Path

from kioskd.config import load_yaml
from kioskd.errors import BadConfiguration
from kioskd.rekey.profile import DEFAULT_PROFILE, Operation, Profile


def load_profile(path: Path) -> Profile:
    """The profile of a file; `BadConfiguration` names the file and the key, or what no card can be."""
    try:
        return load_yaml(Profile, path)
    except ValueError as wrong:
        raise BadConfiguration(f"{path}: {wrong}") from wrong


def load_profiles(folder: str) -> tuple[Profile, ...]:
    """The profiles of a folder in the order of its files' names; the default one where no folder is named.

    `BadConfiguration` for two of one name, or for one whose cards could not be replaced.
    """
    if not folder:
        return (DEFAULT_PROFILE,)
    files = sorted(Path(folder).glob("*.yaml"))
    if not files:
        raise BadConfiguration(f"profiles: {folder} is no folder with a *.yaml")
    found: dict[str, Profile] = {}
    for file in files:
        profile = load_profile(file)
        unfit = profile.refuses(Operation.REPLACE)
        if unfit:
            raise BadConfiguration(f"{file}: its cards could not be replaced: {unfit}")
        if profile.name in found:
            raise BadConfiguration(f"{file}: name: {profile.name} is another file's name, too")
        found[profile.name] = profile
    return tuple(found.values())
