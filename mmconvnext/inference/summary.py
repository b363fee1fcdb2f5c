"""Summarise the results of all inputs, as JSON and as a table."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mmconvnext.inference.results import Results
from mmconvnext.inference.run import Outcome, Unreadable

_ROWS = 20  # maximal rows of the table
_NAMED = 5  # maximal classes of one input in the table


def summary(
    outcomes: Sequence[Outcome],
    unreadable: Sequence[Unreadable],
    results: Results,
    folder: Path,
    checkpoint: str,
) -> dict:
    """Return the summary as plain values for json.

    For each input, ``classes`` are shares of its pixels (segmentation) and ``instances`` are
    numbers (detection); largest first.
    """
    in_pixels = results.unit == 'pixels'
    key = 'classes' if in_pixels else 'instances'
    return {
        'checkpoint': checkpoint,
        'out': str(folder),
        'predictions': None if in_pixels else str(folder / 'predictions.json'),
        'inputs': [
            {
                'input': str(one.source.path),
                'files': one.files,
                'frames': one.frames,
                key: {name: round(amount, 6) for name, amount in one.amounts.items()},
            }
            for one in outcomes
        ],
        'not_read': [{'input': str(one.path), 'reason': one.reason} for one in unreadable],
    }


def table(outcomes: Sequence[Outcome], results: Results) -> Table:
    """Return a table of the first inputs, with the largest classes of each."""
    found = 'share of the pixels' if results.unit == 'pixels' else 'instances'
    written = Table('input', found, 'overlay')
    for one in outcomes[:_ROWS]:
        overlay = one.files.get('picture') or one.files.get('video', '')
        written.add_row(str(one.source.given), _amounts(one, results.unit), overlay)
    if len(outcomes) > _ROWS:
        written.caption = f'and {len(outcomes) - _ROWS} more; --json lists all'
    return written


def _amounts(one: Outcome, unit: str) -> str:
    named = list(one.amounts.items())
    shown = [
        f'{name} {_percent(amount)}' if unit == 'pixels' else f'{amount} {name}'
        for name, amount in named[:_NAMED]
    ]
    if len(named) > _NAMED:
        shown.append(f'and {len(named) - _NAMED} more')
    return ', '.join(shown) or 'nothing'


def _percent(share: float) -> str:
    return f'{share:.0%}' if share >= 0.01 else '<1%'
