"""What the software vault keeps under its seal: the transport pair, blocks, epochs, factory sets, bundle ids.

An epoch goes from issuing to ended or armed, from ended to armed, and never back to issuing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kioskd.errors import BadBundle, NotArmed, UsedBefore, VaultError
from kioskd.gp.factory_keys import FactoryKeys, Method
from kioskd.rekey.bundle import BundleContents, BundleHeader, BundlePurpose
from kioskd.rekey.holding import EpochHolding, EpochState, Holdings
from kioskd.secret import Secret


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch as it is held; what its state does not need is not there."""

    state: EpochState
    generation: int  # of its newest bundle
    public: bytes
    krkdb: Secret | None
    private: Secret | None


@dataclass(frozen=True, slots=True)
class Held:
    """All that the sealed file holds."""

    transport: Secret  # private key, PKCS#8, DER
    journal: Secret
    blocks: Mapping[int, Secret] = field(default_factory=dict)  # MKDB by generation
    epochs: Mapping[int, Epoch] = field(default_factory=dict)
    factory_sets: Mapping[str, FactoryKeys] = field(default_factory=dict)
    bundles: tuple[bytes, ...] = ()

    def block(self, generation: int) -> Secret:
        """MKDB of a generation; `NotArmed` without it."""
        block = self.blocks.get(generation)
        if block is None:
            raise NotArmed(f"generation {generation}: its block is not here; import a bundle of it")
        return block

    def issuing(self, number: int) -> tuple[Secret, bytes]:
        """KRKDB and the public key of an epoch that issues; `NotArmed` otherwise."""
        epoch = self.epochs.get(number)
        if epoch is None:
            raise NotArmed(f"epoch {number}: its issuing keys are not here; import its issue bundle")
        if epoch.state is not EpochState.ISSUING or epoch.krkdb is None:
            raise NotArmed(f"epoch {number}: issuing has ended for ever; issue under another epoch")
        return epoch.krkdb, epoch.public

    def armed(self, number: int) -> tuple[Secret, Secret]:
        """KRKDB and the private key of an armed epoch; `NotArmed` otherwise."""
        epoch = self.epochs.get(number)
        if epoch is None or epoch.krkdb is None or epoch.private is None:
            raise NotArmed(f"epoch {number}: its private key is not here; import its replace bundle")
        return epoch.krkdb, epoch.private

    def factory_set(self, name: str) -> FactoryKeys:
        """The factory set of that name; `NotArmed` without it."""
        keys = self.factory_sets.get(name)
        if keys is None:
            raise NotArmed(f"factory set {name}: is not here; import it")
        return keys

    def end_issue(self, number: int) -> "Held":
        """Without the KRKDB of an epoch that issues."""
        self.issuing(number)
        ended = replace(self.epochs[number], state=EpochState.ENDED, krkdb=None)
        return replace(self, epochs={**self.epochs, number: ended})

    def disarm(self, number: int) -> "Held":
        """Without the KRKDB and the private key of an armed epoch, and without a block that no other epoch needs."""
        epoch = self.epochs.get(number)
        if epoch is None or epoch.state is not EpochState.ARMED:
            raise NotArmed(f"epoch {number}: is not armed here")
        epochs = {**self.epochs, number: replace(epoch, state=EpochState.ENDED, krkdb=None, private=None)}
        needed = {one.generation for one in epochs.values() if one.state is not EpochState.ENDED}
        blocks = {generation: block for generation, block in self.blocks.items() if generation in needed}
        return replace(self, epochs=epochs, blocks=blocks)

    def with_factory_set(self, name: str, keys: FactoryKeys) -> "Held":
        """With one more factory set; `VaultError` if the name is taken by other keys."""
        if not name:
            raise VaultError("a factory set needs a name")
        if self.factory_sets.get(name, keys) != keys:
            raise VaultError(f"factory set {name}: there is another under this name")
        return replace(self, factory_sets={**self.factory_sets, name: keys})

    def with_bundle(self, header: BundleHeader, contents: BundleContents) -> "Held":
        """With the keys of an opened bundle; `BadBundle` if they contradict what is here."""
        if header.id in self.bundles:
            raise UsedBefore(f"bundle {header.id.hex()}: was imported before")
        generation, number = header.generation, header.epoch
        if self.blocks.get(generation, contents.mkdb) != contents.mkdb:
            raise BadBundle(f"generation {generation}: another block is here under this number")
        known = self.epochs.get(number)
        if known is not None and (
            known.public != contents.public or (known.krkdb is not None and known.krkdb != contents.krkdb)
        ):
            raise BadBundle(f"epoch {number}: other keys are here under this number")
        if header.purpose is BundlePurpose.REPLACE:
            if contents.private is None:
                raise BadBundle("bundle: a replace bundle without a private key")
            state, private = EpochState.ARMED, contents.private
        else:
            if contents.private is not None:
                raise BadBundle("bundle: an issue bundle with a private key")
            if known is not None and known.state is not EpochState.ISSUING:
                raise BadBundle(f"epoch {number}: issuing has ended for ever here")
            state, private = EpochState.ISSUING, None
        newest = max(generation, known.generation if known is not None else 0)
        epoch = Epoch(state, newest, contents.public, contents.krkdb, private)
        return replace(
            self,
            blocks={**self.blocks, generation: contents.mkdb},
            epochs={**self.epochs, number: epoch},
            bundles=(*self.bundles, header.id),
        )

    def encode(self) -> Secret:
        """The content of the sealed file."""
        plain = {
            "transport": _text(self.transport),
            "journal": _text(self.journal),
            "blocks": {str(number): _text(block) for number, block in self.blocks.items()},
            "epochs": {
                str(number): {
                    "state": one.state.value,
                    "generation": one.generation,
                    "public": one.public.hex(),
                    "krkdb": _text(one.krkdb),
                    "private": _text(one.private),
                }
                for number, one in self.epochs.items()
            },
            "factory_sets": {name: _factory_plain(keys) for name, keys in self.factory_sets.items()},
            "bundles": [one.hex() for one in self.bundles],
        }
        return Secret(json.dumps(plain).encode())

    @classmethod
    def decode(cls, content: Secret) -> "Held":
        """What a sealed file holds; `VaultError` if another version wrote it."""
        try:
            plain = json.loads(content.reveal())
            return cls(
                transport=Secret(bytes.fromhex(plain["transport"])),
                journal=Secret(bytes.fromhex(plain["journal"])),
                blocks={int(number): Secret(bytes.fromhex(text)) for number, text in plain["blocks"].items()},
                epochs={
                    int(number): Epoch(
                        EpochState(one["state"]),
                        one["generation"],
                        bytes.fromhex(one["public"]),
                        _secret(one["krkdb"]),
                        _secret(one["private"]),
                    )
                    for number, one in plain["epochs"].items()
                },
                factory_sets={name: _factory_keys(one) for name, one in plain["factory_sets"].items()},
                bundles=tuple(bytes.fromhex(text) for text in plain["bundles"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise VaultError("the vault's content is of another version") from wrong


def _factory_plain(factory: FactoryKeys) -> dict[str, Any]:
    return {"keys": [_text(one) for one in factory.keys], "des": factory.des, "method": factory.method}


def _factory_keys(plain: Any) -> FactoryKeys:
    """Files of before had a list of three keys."""
    told: dict[str, Any] = plain if isinstance(plain, dict) else {"keys": plain}
    keys = tuple(Secret(bytes.fromhex(one)) for one in told["keys"])
    method = told.get("method")
    return FactoryKeys(keys, told.get("des"), Method(method) if method else None)


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal().hex()


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(bytes.fromhex(text))


def holdings_of(held: Held) -> Holdings:
    """The names and numbers of what is held."""
    return Holdings(
        generations=tuple(sorted(held.blocks)),
        epochs=tuple(EpochHolding(n, one.state, one.generation) for n, one in sorted(held.epochs.items())),
        factory_sets=tuple(sorted(held.factory_sets)),
    )
