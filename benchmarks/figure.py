"""Table and bar chart of measured cases."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from matplotlib.axes import Axes
from rich.table import Column, Table

from benchmarks.case import Case
from mmconvnext.figures import COLOURS, bare, new_figure, save


def table(case: Case) -> Table:
    """Return a table with one row for each variant; quartiles are in brackets."""
    with_first = any('compiled' in one.name for one in case.measurements)
    headers = ['ms', 'time ÷ ours', 'peak memory, MiB', 'of GEMM ceiling', 'difference']
    headers += ['first step, s'] * with_first
    columns = (Column(header, justify='right') for header in headers)
    written = Table('', *columns, title=case.title, caption=caption(case))
    written.title_justify = written.caption_justify = 'left'
    for one in case.measurements:
        median, low, high = (_three_digits(1e3 * value) for value in astuple(one.seconds))
        ratio = '{:.2f} [{:.2f}, {:.2f}]'.format(*astuple(one.ratio))
        cells = [
            *(one.name, f'{median} [{low}, {high}]', ratio),
            '–' if one.peak_bytes is None else f'{one.peak_bytes / 2**20:.0f}',
            '–' if one.gemm_fraction is None else f'{one.gemm_fraction:.0%}',
            f'{one.difference:.0e}' if one.difference else '0',
            *[_three_digits(one.first_seconds)] * with_first,
        ]
        written.add_row(*cells, style=None if one.rival else 'bold')
    return written


def _three_digits(value: float) -> str:
    return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'


def caption(case: Case) -> str:
    """Return a description of a case's numbers, and the ratio of each rival's best to ours."""
    macs = f'; nominal {case.macs / 1e9:.1f} GMAC a step' if case.macs else ''
    lines = [
        f'{case.rounds} interleaved rounds, medians and quartiles; ratios paired within a round',
        f'GEMM ceiling {case.gemm_gflops:.0f} GFLOP/s{macs}',
    ]
    best = [
        f'{rival} {one.ratio.median:.2f}' + (f' ({one.name})' if one.tuned else '')
        for rival, one in case.best_of_rivals().items()
    ]
    if best:
        lines.append(f'each at its best, time ÷ ours: {"; ".join(best)}')
    return '\n'.join(lines)


def draw(cases: Sequence[Case], path: Path) -> None:
    """Write a PNG: a panel for each case, a bar for each variant, quartiles as error bars."""
    bars = [len(case.measurements) for case in cases]
    figure = new_figure(8, sum(1.1 + 0.32 * count for count in bars))
    panels = figure.subplots(len(cases), squeeze=False, height_ratios=bars).flatten()
    for panel, case in zip(panels, cases):
        _draw_case(panel, case)
    save(figure, path)


def _draw_case(panel: Axes, case: Case) -> None:
    """Draw bars: ours dark, rivals as shipped grey, tuned rivals light."""
    longest = max(one.seconds.upper for one in case.measurements)
    for place, one in enumerate(case.measurements):
        median, low, high = (1e3 * value for value in astuple(one.seconds))
        panel.barh(
            *(place, median),
            xerr=[[median - low], [high - median]],
            color=COLOURS[0] if not one.rival else COLOURS[4] if one.tuned else '#BBBBBB',
            error_kw={'ecolor': '#444444', 'capsize': 2, 'elinewidth': 1},
        )
        panel.text(high + 15 * longest, place, f'{one.ratio.median:.2f}×', va='center')
    panel.set_yticks(range(len(case.measurements)), [one.name for one in case.measurements])
    panel.invert_yaxis()  # ours on top
    panel.set_xlim(0, 1.16e3 * longest)
    panel.set_xlabel('ms per step (next to the bar: time ÷ ours)')
    panel.set_title(case.title, loc='left', fontsize=11)
    bare(panel, axis='x')
