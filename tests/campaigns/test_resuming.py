"""A run that is killed and resumed ends as the run left alone, to the bit."""

import pytest

from tests.campaigns import late_start
from tests.campaigns.resuming import PHASES, campaign


@pytest.mark.campaign
def test_thirty_kills() -> None:
    killed = campaign(30, seed=1)
    assert killed.total() - killed['ended'] >= 30
    assert all(any(name.startswith(phase) for name in killed) for phase in PHASES)


@pytest.mark.campaign
@pytest.mark.parametrize('kind', late_start.MODELS)
def test_a_late_start_reads_only_its_first_batch(kind: str) -> None:
    assert [found.images for found in late_start.campaign(kind)] == [late_start.BATCH] * 2
