"""Scores of each class, out of the tables that metrics print into a log.

mmseg's IoUMetric, and ours, print a PrettyTable ``| Class | IoU | Acc |`` in percent;
``mmconvnext.CocoMetric`` with ``classwise`` prints a table ``| class | AP | … |`` of fractions for
boxes and one for masks. No other file holds the IoU of classes.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# Percent by class, nan where there is no ground truth.
ClassScores = dict[str, float]

_BORDER = re.compile(r'\+(-+\+)+\s*')
_KIND = re.compile(r'(\w+) of each class')


def read_class_scores(logs: Iterable[Path]) -> dict[str, list[ClassScores]]:
    """The scores in all tables of each kind, in their order: ``'IoU'``, ``'bbox AP'``, …

    ``logs`` are text, in the order of time. What cannot be read as a table is passed over.
    """
    found: dict[str, list[ClassScores]] = {}
    for log in logs:
        with log.open(errors='replace') as lines:
            for kind, rows in _tables(lines):
                name, scores = _scores(kind, rows)
                if scores:
                    found.setdefault(name, []).append(scores)
    return found


def _tables(lines: Iterable[str]) -> Iterator[tuple[str, list[list[str]]]]:
    """Tables as rows of cells, with what the line before says they are of."""
    kind, borders, columns = '', 0, 0
    rows: list[list[str]] = []
    for line in lines:
        if _BORDER.fullmatch(line):
            borders += 1
            columns = line.count('+') - 1
            if borders == 3:  # above the header, below it, and at the end
                yield kind, rows
                borders, rows = 0, []
        elif borders and line.startswith('|'):
            # From the right: names may contain what separates columns.
            cells = line.strip()[1:-1].rsplit(' | ', columns - 1)
            rows.append([cell.strip() for cell in cells])
        else:
            borders, rows = 0, []
            match = _KIND.search(line)
            kind = match[1] if match else kind


def _scores(kind: str, rows: list[list[str]]) -> tuple[str, ClassScores]:
    """Name and values of the first column of scores; none of a table of something else."""
    header, *body = rows or [['']]
    if header[0].lower() != 'class' or len(header) < 2:
        return '', {}
    try:
        scores = {row[0]: float(row[1]) for row in body}
    except (ValueError, IndexError):
        return '', {}
    if header[1] != 'AP':
        return header[1], scores
    # Fractions; percent of three digits have one.
    return f'{kind} AP'.strip(), {name: round(100 * one, 1) for name, one in scores.items()}
