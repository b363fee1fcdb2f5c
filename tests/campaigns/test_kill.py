"""Killed in the middle of writing, a run has a checkpoint to go on from."""

import pytest

from tests.campaigns.kill import campaign


def test_a_few_kills() -> None:
    assert campaign(4).total() == 4


@pytest.mark.campaign
def test_fifty_kills() -> None:
    states = campaign(50, seed=1)
    assert states.total() == 50
    assert states['writing the checkpoint'] >= 20
