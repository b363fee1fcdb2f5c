"""docs/roadmap.md points at the lines that it speaks of, and repeats the published figures."""

import re
from pathlib import Path

import pytest

from mmconvnext.studies.roadmap import ROADMAP
from mmconvnext.studies.roadmap.results import PUBLISHED
from tests.conftest import ROOT

PAGE = (ROOT / 'docs' / 'roadmap.md').read_text()
STEPS = [step.name for step in ROADMAP]
LINKS = re.findall(r'\[`([^`]+)`\]\(\.\./([\w/.]+)#L(\d+)(?:-L(\d+))?\)', PAGE)


@pytest.mark.parametrize(('text', 'path', 'first', 'last'), LINKS)
def test_links_lead_to_the_lines_they_quote(text: str, path: str, first: str, last: str) -> None:
    lines = Path(ROOT / path).read_text().splitlines()
    linked = lines[int(first) - 1 : int(last or first)]
    quoted, part = text, linked
    if text in STEPS:  # an entry of the table has it as its name
        quoted, part = f"'{text}',", linked[:2]
    hint = f'{path}#L{first}: update the line numbers of docs/roadmap.md'
    assert quoted in '\n'.join(part), hint
    if last:  # a whole statement: an entry of the table, or a class
        assert not linked[0].startswith((' ', ')', '#'))
        assert linked[-1].startswith((')', ' '))


def test_every_step_is_told() -> None:
    assert {step.name for step in ROADMAP} <= {text for text, *_ in LINKS}


def test_accuracies_are_the_published_ones() -> None:
    told = [
        float(number)
        for bold in re.findall(r'\*\*([\d.,\s]+)\*\*', PAGE)
        for number in bold.split(',')
    ]
    published = [PUBLISHED['resnet50'][step.name].top1 for step in ROADMAP]
    assert told == [pytest.approx(number, abs=0.0501) for number in published]
