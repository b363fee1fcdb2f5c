"""Read the scores of each class from the tables that metrics print into a log.

mmseg's IoUMetric, and ours, print a PrettyTable ``| Class | IoU | Acc |`` in percent;
``mmconvnext.CocoMetric`` with ``classwise`` prints a table ``| class | AP | … |`` of fractions for
boxes and another for masks. No other file contains the IoU of classes.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# Percent by class, nan if there is no ground truth.
ClassScores = dict[str, float]

_BORDER = re.compile(r'\+(-+\+)+\s*')
_KIND = re.compile(r'(\w+) of each class')


def read_class_scores(logs: Iterable[Path]) -> dict[str, list[ClassScores]]:
    """Return the scores in all tables by kind (``'IoU'``, ``'bbox AP'``, …), in order.

    ``logs`` are text files in chronological order. Anything that is not such a table is skipped.
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
    """Yield tables as rows of cells, each with the kind that the line before names."""
    kind, borders, columns = '', 0, 0
    rows: list[list[str]] = []
    for line in lines:
        if _BORDER.fullmatch(line):
            borders += 1
            columns = line.count('+') - 1
            if borders == 3:  # above the header, below it, and at the end of the table
                yield kind, rows
                borders, rows = 0, []
        elif borders and line.startswith('|'):
            # From the right, because names may contain the column separator.
            cells = line.strip()[1:-1].rsplit(' | ', columns - 1)
            rows.append([cell.strip() for cell in cells])
        else:
            borders, rows = 0, []
            match = _KIND.search(line)
            kind = match[1] if match else kind


def _scores(kind: str, rows: list[list[str]]) -> tuple[str, ClassScores]:
    """Return kind and values of the first score column; no values for other tables."""
    header, *body = rows or [['']]
    if header[0].lower() != 'class' or len(header) < 2:
        return '', {}
    try:
        scores = {row[0]: float(row[1]) for row in body}
    except (ValueError, IndexError):
        return '', {}
    if header[1] != 'AP':
        return header[1], scores
    # The table has fractions; three digits of them are percent with one decimal.
    return f'{kind} AP'.strip(), {name: round(100 * one, 1) for name, one in scores.items()}
