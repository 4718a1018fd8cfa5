"""The stage of the demo: what it says when a part of it has gone."""

import pytest

from kioskd.demo.roles import StageFailed
from kioskd.demo.stage import Stage
from kioskd.virtual.card import VirtualCard

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.usefixtures("root_only")]


def test_a_tap_where_pcscd_has_ended_is_one_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Stage(tmp_path_factory.mktemp("d")) as stage:
        stage.pcscd.stop()
        with pytest.raises(StageFailed, match="the reader is gone, for its pcscd has ended: quit, and begin anew"):
            stage.tap(stage.holder(VirtualCard(), "kiosk"), "kiosk")
