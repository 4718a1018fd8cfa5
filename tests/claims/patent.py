"""The forty claims in a few words each, and the page that shows which tests stand for them and what they gave."""

from collections.abc import Mapping

CLAIMS = {
    1: "a system that issues: server, HSM with public key, MKDB, KRKDB and random numbers, PSD writer, card",
    2: "the card's id reaches the first HSM",
    3: "the first HSM makes the random number",
    4: "KRKDB and the random number give the card's KRK",
    5: "the random number is encrypted to the public key",
    6: "the first server keeps the cryptogram against the card's id",
    7: "the random number is deleted in the first HSM",
    8: "the KRK is injected and registered with the executive",
    9: "the KRK in the first slot",
    10: "the KRK in the second slot",
    11: "MKDB and the card's id give the master key",
    12: "the master key is injected and registered",
    13: "the master key in the second slot",
    14: "the master key in the first slot",
    15: "a system that replaces: client, both servers and HSMs, private key at the second, card with both sets",
    16: "KRKDB, the new MKDB and the private key move from the second HSM to the first",
    17: "the card's id reaches the first server, which finds the cryptogram",
    18: "id and cryptogram reach the first HSM",
    19: "the private key opens the cryptogram",
    20: "KRKDB and the random number give the KRK again",
    21: "the new MKDB and the id give the new master key",
    22: "the KRK reaches the executive, which compares it",
    23: "the executive is unlocked on a match",
    24: "the old master key is deleted",
    25: "the new master key is transferred, installed and registered",
    26: "the executive is locked again",
    27: "the transfer, with the second HSM at the second server",
    28: "the transfer, with the second HSM at the first server",
    29: "the method of issuing",
    30: "issuing: the first device is the access server",
    31: "issuing: the first device is its HSM",
    32: "issuing: the second device is the key management server",
    33: "issuing: the second device is its HSM",
    34: "issuing: the second HSM is at the access server",
    35: "the method of replacing, step by step in its order",
    36: "replacing: the first device is the access server",
    37: "replacing: the first device is its HSM",
    38: "replacing: the second device is the key management server",
    39: "replacing: the second device is its HSM",
    40: "replacing: the second HSM is at the access server",
}


def page(tests: Mapping[int, Mapping[str, str]]) -> str:
    """docs/claims.md: each claim, its tests, and each test's result."""
    lines = [
        "# The claims, and the tests that stand for them",
        "",
        "Made by `make claims`: every test that names a claim was run, and its result written down.",
        "A row without a test is open. What a claim says is abridged.",
        "",
        "| claim | in short | tests | result |",
        "|---|---|---|---|",
    ]
    for number, words in CLAIMS.items():
        found = tests.get(number, {})
        names = "<br>".join(f"`{name}`" for name in sorted(found)) or "-"
        results = sorted(set(found.values()))
        lines.append(f"| {number} | {words} | {names} | {', '.join(results) or 'open'} |")
    held = sum(1 for number in CLAIMS if set(tests.get(number, {}).values()) == {"passed"})
    lines += ["", f"{held} of {len(CLAIMS)} claims have tests, all of which passed."]
    return "\n".join(lines) + "\n"
