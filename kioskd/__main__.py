"""`kioskd ROLE ...`: the only file that names all roles. It imports the chosen one and no other."""

import importlib
import importlib.util
import sys

from kioskd.version import VERSION

ROLES = {
    "kiosk": ("kioskd.kiosk.daemon", "the daemon of a kiosk: taps replace master keys"),
    "station": ("kioskd.station.cli", "the issuing station: issues the cards that are inserted"),
    "profile": ("kioskd.profile.cli", "card profiles: checks one, writes the one that a card needs"),
    "access": ("kioskd.access.cli", "the access server and its vault"),
    "kms": ("kioskd.kms.cli", "the key management server: makes and releases keys"),
    "custodian": ("kioskd.custodian.cli", "a key custodian's own key and approvals"),
    "audit": ("kioskd.audit.cli", "checks the transcript of the ceremonies"),
    "hsm": ("kioskd.hsm.cli", "PKCS#11 tokens: a new one, and what one does inside"),
    "sim": ("kioskd.sim.cli", "the virtual card in a virtual reader, for test engineers"),
    "demo": ("kioskd.demo.cli", "one card's story on real parts, in a folder of its own"),
    "ca": ("kioskd.ca.cli", "the certificates of a small installation"),
}

WHERE = {"sim": "install the package kioskd-sim", "demo": "it runs from the source only, by `make demo`"}
"""Where a role is that Debian's packages did not bring here, if not in kioskd-server."""


def main(argv: list[str] | None = None) -> int:
    """Hands the command line to a role; 2 for one that is not there."""
    args = sys.argv[1:] if argv is None else argv
    if args and args[0] in ROLES:
        if importlib.util.find_spec(ROLES[args[0]][0].rpartition(".")[0]) is None:
            where = WHERE.get(args[0], "install the package kioskd-server")
            print(f"kioskd: the role {args[0]} is not on this machine: {where}", file=sys.stderr)
            return 2
        module = importlib.import_module(ROLES[args[0]][0])
        code: int = module.main(args[1:])
        return code
    if args[:1] == ["--version"]:
        print(f"kioskd {VERSION}")
        return 0
    asked = args[:1] in ([], ["--help"], ["-h"])
    out = sys.stdout if asked else sys.stderr
    if not asked:
        print(f"kioskd: there is no role {args[0]!r}", file=out)
    print("kioskd ROLE ...\n", *(f"  {name:<11}{words}" for name, (_, words) in ROLES.items()), sep="\n", file=out)
    print("\nkioskd ROLE --help says more.", file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
