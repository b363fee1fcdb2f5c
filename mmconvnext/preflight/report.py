"""Report the findings on a dataset, as tables and as JSON."""

import dataclasses
import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mmconvnext.preflight.findings import LEVELS
from mmconvnext.preflight.pictures import size_text
from mmconvnext.preflight.run import Preflight

_STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'dim'}
_SHOWN = 3  # maximal named offenders in the table; the JSON has more


def print_report(checked: Preflight, console: Console) -> None:
    """Print a table with one row per dataset, and all findings."""
    table = Table('dataset', title='Data', title_justify='left')
    for header in ('images', 'annotated', 'classes', 'labels', 'smallest', 'largest'):
        table.add_column(header, justify='right')
    for summary in checked.summaries:
        seen = sum(count > 0 for count in summary.counts)
        sizes = summary.image_sizes
        table.add_row(
            summary.name,
            f'{summary.images:,}',
            f'{summary.annotated:,}',
            f'{seen} / {len(summary.classes)}',
            f'{_short(sum(summary.counts))} {summary.unit}',
            *(size_text(some(sizes, key=math.prod)) if sizes else '–' for some in (min, max)),
        )
    console.print(table)
    print_findings(checked, console)


def _short(count: int) -> str:
    for unit, size in (('G', 10**9), ('M', 10**6)):
        if count >= size:
            return f'{count / size:.3g} {unit}'
    return f'{count:,}'


def print_findings(checked: Preflight, console: Console) -> None:
    """Print each finding with its first offenders, errors first."""
    for finding in checked.findings.sorted():
        number = f'{finding.count:,} × ' if finding.count else ''
        line = Text.from_markup(
            f'[{_STYLES[finding.level]}]{finding.level:<7}[/] {escape(finding.split)}: '
            f'{number}{escape(finding.message)}'
        )
        console.print(line, soft_wrap=True)
        for offender in finding.offenders[:_SHOWN]:
            below = Text(f'          {offender}', style='dim', no_wrap=False)
            console.print(below, soft_wrap=True)
        if finding.count > _SHOWN:
            more = f'          … and {finding.count - _SHOWN:,} more'
            console.print(Text(more, style='dim'), soft_wrap=True)


def verdict(checked: Preflight) -> str:
    """Return the last line: the number of findings, and what they mean."""
    numbers = {level: len(checked.findings.of(level)) for level in LEVELS[:2]}
    counted = ', '.join(f'{n} {level}{"s" * (n != 1)}' for level, n in numbers.items())
    if numbers['error']:
        return f'{counted}: training or evaluation would fail or be wrong'
    return f'{counted}: ready to train'


def as_json(checked: Preflight) -> dict[str, object]:
    """Return the report as plain values, with the first offenders of each finding."""
    return {
        'errors': len(checked.findings.of('error')),
        'warnings': len(checked.findings.of('warning')),
        'findings': [dataclasses.asdict(finding) for finding in checked.findings.sorted()],
        'datasets': [
            {
                'name': s.name,
                'pictures': s.images,
                'annotated': s.annotated,
                'unit': s.unit,
                'counts': dict(zip(s.classes, s.counts)),
            }
            for s in checked.summaries
        ],
    }
