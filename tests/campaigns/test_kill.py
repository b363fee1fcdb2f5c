"""Killed in the middle of writing, a run has a checkpoint to go on from."""

import pytest

from tests.campaigns.kill import campaign


def test_a_few_kills() -> None:
    assert campaign(2).total() >= 2


@pytest.mark.campaign
def test_fifty_kills() -> None:
    assert campaign(50, seed=1).total() >= 50
