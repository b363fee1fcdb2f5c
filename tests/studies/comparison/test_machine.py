import re

from mmconvnext.studies.comparison.machine import machine


def test_a_machine_in_words() -> None:
    here = machine('cpu', 'python tools/compare_backbones.py')
    assert re.fullmatch(r'.+, \d+ threads?, torch \S+, \d{4}-\d\d-\d\d', str(here))
    assert here.load is None or here.load >= 0
