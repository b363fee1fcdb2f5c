import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.case import Case, Measurement
from benchmarks.figure import caption, draw, table
from mmconvnext.analysis.benchmark.timing import Spread

MEBIBYTE = 2**20


def measured(name: str, seconds: float, rival: str = '', tuned: bool = False) -> Measurement:
    spread = Spread(seconds, 0.9 * seconds, 1.2 * seconds)
    return Measurement(name, rival, tuned, spread, spread, 0.5, 3 * MEBIBYTE, 1e-6)


@pytest.fixture
def case() -> Case:
    return Case(
        'a case',
        5,
        10**9,
        100.0,
        [
            measured('ours', 1),
            measured('ours, again', 1.01),
            measured('ours, fast=False', 1.5),
            measured('timm', 3, 'timm'),
            measured('timm, channels_last', 2, 'timm', tuned=True),
        ],
    )


def test_best_of_rivals(case: Case) -> None:
    assert case.best_of_rivals() == {'timm': case.measurements[-1]}
    assert 'time ÷ ours: timm 2.00 (timm, channels_last)' in caption(case)


def test_case_becomes_json(case: Case) -> None:
    read = json.loads(json.dumps(dataclasses.asdict(case)))
    assert read['measurements'][0]['seconds'] == {'median': 1, 'lower': 0.9, 'upper': 1.2}


@pytest.mark.parametrize('cases', [1, 3])
def test_table_and_figure(case: Case, cases: int, tmp_path: Path) -> None:
    written = table(case)
    assert [*written.columns[0].cells] == [one.name for one in case.measurements]
    assert next(iter(written.columns[1].cells)) == '1,000 [900, 1,200]'
    draw([case] * cases, tmp_path / 'new' / 'bars.png')
    assert (tmp_path / 'new' / 'bars.png').read_bytes().startswith(b'\x89PNG')
