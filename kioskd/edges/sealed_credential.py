"""A systemd credential that only this machine's TPM opens, made by systemd-creds."""

import subprocess

from kioskd.errors import BadConfiguration
from kioskd.secret import Secret

PATIENCE_S = 60.0
TPM = "tpm2"


def check_tpm() -> None:
    """`BadConfiguration` if systemd has no TPM to seal with."""
    try:
        command = ["systemd-creds", "has-tpm2", "--quiet"]
        there = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        there = False
    if not there:
        raise BadConfiguration("--seal: this machine has no TPM that systemd can use; enrol without --seal")


def seal(name: str, content: Secret, key: str = TPM) -> bytes:
    """The encrypted credential of that name, for LoadCredentialEncrypted=; `BadConfiguration` if it cannot be made."""
    command = ["systemd-creds", "encrypt", f"--with-key={key}", f"--name={name}", "-", "-"]
    try:
        done = subprocess.run(command, input=content.reveal(), capture_output=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError) as wrong:
        raise BadConfiguration("--seal: systemd-creds could not seal the identity; the old one stays") from wrong
    return done.stdout
