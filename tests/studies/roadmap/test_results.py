import pytest

from mmconvnext.studies.roadmap.results import PUBLISHED, RIVALS
from mmconvnext.studies.roadmap.steps import REGIMES, ROADMAP
from tests.reference import read_table


def test_every_step_is_there_in_order() -> None:
    names = [step.name for step in ROADMAP]
    assert list(PUBLISHED) == list(RIVALS) == list(REGIMES)
    assert all(list(PUBLISHED[regime]) == names for regime in REGIMES)


@pytest.mark.parametrize('regime', REGIMES)
def test_matches_the_paper_s_table(regime: str) -> None:
    table = [row for row in read_table('roadmap') if row['regime'] == regime]
    rival = RIVALS[regime]
    ours = [*PUBLISHED[regime].items(), (rival.name, rival.published)]
    assert [(name, one.top1, one.deviation, one.gflops) for name, one in ours] == [
        (row['model'], row['top1'], row['deviation'], row['gflops']) for row in table
    ]


def test_what_contradicts_itself_is_noted() -> None:
    noted = [name for name, one in PUBLISHED['resnet50'].items() if one.note]
    assert noted == ['layer_norm', 'separate_downsampling']
    assert not any(one.note for one in PUBLISHED['resnet200'].values())
