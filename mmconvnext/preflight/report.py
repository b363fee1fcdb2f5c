"""What the checks of a data set found, as tables for a person and as JSON for a program."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mmconvnext.preflight.findings import LEVELS, Finding
from mmconvnext.preflight.run import Preflight, Summary

_STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'dim'}
_SHOWN = 3  # offenders by name in the table; the JSON has more


def print_report(checked: Preflight, console: Console) -> None:
    """Print the table of the data sets and all findings."""
    console.print(summary_table(checked))
    print_findings(checked, console)


def print_findings(checked: Preflight, console: Console) -> None:
    """Print each finding, the gravest first, with the first offenders below it."""
    for line in _lines(checked):
        console.print(line, soft_wrap=True)


def summary_table(checked: Preflight) -> Table:
    """One row a data set."""
    table = Table('data set', title='Data', title_justify='left')
    for header in ('pictures', 'annotated', 'classes', 'labels', 'smallest', 'largest'):
        table.add_column(header, justify='right')
    for summary in checked.summaries:
        seen = sum(count > 0 for count in summary.counts)
        table.add_row(
            summary.name,
            f'{summary.pictures:,}',
            f'{summary.annotated:,}',
            f'{seen} / {len(summary.classes)}',
            f'{_short(sum(summary.counts))} {summary.unit}',
            *_sizes(summary),
        )
    return table


def _short(count: int) -> str:
    for unit, size in (('G', 10**9), ('M', 10**6)):
        if count >= size:
            return f'{count / size:.3g} {unit}'
    return f'{count:,}'


def _sizes(summary: Summary) -> tuple[str, str]:
    if not summary.picture_sizes:
        return '–', '–'
    sides = np.array([*summary.picture_sizes])
    smallest, largest = sides[sides.prod(1).argmin()], sides[sides.prod(1).argmax()]
    return f'{smallest[0]} × {smallest[1]}', f'{largest[0]} × {largest[1]}'


def _lines(checked: Preflight) -> Iterator[Text]:
    for finding in checked.findings.sorted():
        style = _STYLES[finding.level]
        number = f'{finding.count:,} × ' if finding.count else ''
        yield Text.from_markup(
            f'[{style}]{finding.level:<7}[/] {escape(finding.split)}: '
            f'{number}{escape(finding.message)}'
        )
        for offender in finding.offenders[:_SHOWN]:
            yield Text(f'          {offender}', style='dim', no_wrap=False)
        if finding.count > _SHOWN:
            yield Text(f'          … and {finding.count - _SHOWN:,} more', style='dim')


def verdict(checked: Preflight) -> str:
    """The last line: how many findings, and what they mean."""
    numbers = {level: len(checked.findings.of(level)) for level in LEVELS[:2]}
    counted = ', '.join(f'{n} {level}{"s" * (n != 1)}' for level, n in numbers.items())
    if numbers['error']:
        return f'{counted}: training or evaluation would fail or be wrong'
    return f'{counted}: ready to train'


def as_json(checked: Preflight) -> dict[str, object]:
    """What a program reads; of each finding, the first offenders by name."""
    findings: list[Finding] = checked.findings.sorted()
    return {
        'errors': len(checked.findings.of('error')),
        'warnings': len(checked.findings.of('warning')),
        'findings': [dataclasses.asdict(finding) for finding in findings],
        'datasets': [
            {
                'name': s.name,
                'pictures': s.pictures,
                'annotated': s.annotated,
                'unit': s.unit,
                'counts': dict(zip(s.classes, s.counts)),
            }
            for s in checked.summaries
        ],
    }
