"""Two thousand iterations use no more than the first ones."""

import pytest

from tests.campaigns.soak import RUNS, soak, summary


@pytest.mark.campaign
@pytest.mark.parametrize('kind', RUNS)
def test_uses_no_more_after_two_thousand_iterations(kind: str) -> None:
    found = summary(soak(kind, 2000))
    first, last = found['memory']
    assert last < 1.01 * first
    for name in ('descriptors', 'processes'):
        assert found[name][0] == found[name][1]
