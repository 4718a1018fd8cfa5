"""A key management server runs for months: a lost token is logged in to again, another process's work is seen."""

import pytest
from pkcs11 import ObjectClass, exceptions

from kioskd.errors import HsmGone
from tests.hsm.faulty import Fate, Watched
from tests.hsm.kms_tokens import new_token, open_token

pytestmark = [pytest.mark.slow]


def test_a_token_that_was_lost_is_said_once_and_is_back_at_the_next_look() -> None:
    kms = open_token(new_token("kms"))
    kms.prepare()
    assert kms.generate() == 1
    kms.token.session = Watched(Fate(0, exceptions.DeviceError, lasting=True), kms.token.session)
    with pytest.raises(HsmGone):
        kms.generate()
    assert kms.holdings().generations == (1,)
    assert kms.generate() == 2


def test_what_another_process_destroyed_is_not_looked_for_under_its_old_handle() -> None:
    label = new_token("kms")
    kms, other = open_token(label), open_token(label)
    kms.prepare()
    assert kms.generate() == 1
    assert kms.token.find(ObjectClass.SECRET_KEY, "MKDB 1") is not None
    found = other.token.find(ObjectClass.SECRET_KEY, "MKDB 1")
    assert found is not None
    other.token.destroy(found)
    assert kms.holdings().generations == ()
    assert kms.token.find(ObjectClass.SECRET_KEY, "MKDB 1") is None
