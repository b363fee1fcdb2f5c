"""Of no dataset does check_dataset say "ready to train" if a later step fails or is meaningless."""

import pytest

from tests.campaigns.ready import CASES, campaign


@pytest.mark.campaign
def test_ready_is_a_promise() -> None:
    outcomes = campaign()
    assert len(outcomes) == len(CASES) >= 60
    assert [(one.case, one.broken) for one in outcomes if one.broken] == []
    wrong = [one.case for one in outcomes if one.good is bool(one.refused_by)]
    assert wrong == [], 'good data are ready, and bad data are not'
