import re

from mmconvnext.analysis.benchmark.machine import machine


def test_a_machine_in_words(monkeypatch) -> None:
    monkeypatch.setattr('sys.argv', ['tools/compare_backbones.py', '--sizes', 'T'])
    here = machine('cpu')
    assert re.fullmatch(r'.+, \d+ threads?, torch \S+, \d{4}-\d\d-\d\d', str(here))
    assert here.load is None or here.load >= 0
    assert here.command == 'python tools/compare_backbones.py --sizes T'
