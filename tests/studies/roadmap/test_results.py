import re

import pytest

from mmconvnext.studies.roadmap.network import REGIMES, ROADMAP
from mmconvnext.studies.roadmap.results import PUBLISHED, RIVALS
from tests.conftest import SHARED

# Optional: the paper's tables, copied from it by hand and apart from this project.
TABLES = SHARED / 'reference' / 'roadmap.md'


def test_every_step_is_there_in_order() -> None:
    names = [step.name for step in ROADMAP]
    assert list(PUBLISHED) == list(RIVALS) == list(REGIMES)
    assert all(list(PUBLISHED[regime]) == names for regime in REGIMES)


@pytest.mark.skipif(not TABLES.is_file(), reason=f'no table of published numbers in {TABLES}')
def test_matches_the_paper_s_table_10() -> None:
    rows = re.findall(
        r'^\| [\dabcd]+ \|[^|]*\| ([\d.]+) ± ([\d.]+) \| ([\d.]+)', TABLES.read_text(), re.M
    )
    ours = [(p.top1, p.deviation, p.gflops) for p in PUBLISHED['resnet50'].values()]
    assert ours == [tuple(map(float, row)) for row in rows]
    swin = re.search(r'Swin-T, for comparison \| ([\d.]+) \| ([\d.]+)', TABLES.read_text())
    assert RIVALS['resnet50'].published[:2] == tuple(map(float, swin.groups()))


@pytest.mark.skipif(not TABLES.is_file(), reason=f'no table of published numbers in {TABLES}')
def test_matches_the_paper_s_table_11() -> None:
    section = TABLES.read_text().split('## ResNet-200 regime')[1]
    found = []
    for row in re.findall(r'^\| (?!step|-)(.*) \|$', section, re.M):
        label, accuracies, macs, _ = (cell.strip() for cell in row.split('|'))
        accuracies = [float(one) for one in accuracies.split('/')]
        if label.startswith('ResNet-200'):
            accuracies = accuracies[1:]  # the first is of the original recipe
        macs = [float(one) for one in macs.split('/')]
        found += zip(accuracies, macs * (len(accuracies) // len(macs)))
    *steps, swin = found
    assert [p[:2] for p in PUBLISHED['resnet200'].values()] == steps
    assert RIVALS['resnet200'].published[:2] == swin


def test_what_contradicts_itself_is_noted() -> None:
    noted = [name for name, one in PUBLISHED['resnet50'].items() if one.note]
    assert noted == ['layer_norm', 'separate_downsampling']
    assert not any(one.note for one in PUBLISHED['resnet200'].values())
