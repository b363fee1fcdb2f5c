"""The table and the bar chart of measured cases."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.table import Table

from benchmarks.case import Case
from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.figures import COLOURS, save

ROLES = {
    'ours': COLOURS[0],
    'ours, for control or plain': COLOURS[5],
    'rival as shipped': '#BBBBBB',
    'rival tuned': COLOURS[4],
}
COLUMNS = 2


def table(case: Case) -> Table:
    """One row for each variant; the quartiles stand in brackets."""
    written = Table(title=case.title, caption=caption(case), title_justify='left')
    written.caption_justify = 'left'
    written.add_column('')
    with_first = any('compiled' in one.name for one in case.measurements)
    headers = ['ms', 'time ÷ ours', 'peak memory, MiB', 'of GEMM ceiling', 'difference']
    for header in headers + ['first step, s'] * with_first:
        written.add_column(header, justify='right')
    for one in case.measurements:
        low, median, high = (_three_digits(1e3 * value) for value in _ordered(one.seconds))
        ratio = '{1:.2f} [{0:.2f}, {2:.2f}]'.format(*_ordered(one.ratio))
        cells = [
            *(one.name, f'{median} [{low}, {high}]', ratio),
            '–' if one.peak_bytes is None else f'{one.peak_bytes / 2**20:.0f}',
            '–' if one.gemm_fraction is None else f'{one.gemm_fraction:.0%}',
            f'{one.difference:.0e}' if one.difference else '0',
            *[_three_digits(one.first_seconds)] * with_first,
        ]
        written.add_row(*cells, style=None if one.rival else 'bold')
    return written


def _ordered(spread: Spread) -> tuple[float, float, float]:
    return spread.lower, spread.median, spread.upper


def _three_digits(value: float) -> str:
    return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'


def caption(case: Case) -> str:
    """What the numbers of a case are of, and ours against each rival's best."""
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
    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)
    bars = max(len(case.measurements) for case in cases)
    figure = Figure(figsize=(7.5 * columns, rows * (1.1 + 0.32 * bars) + 0.7), dpi=110)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, case in zip(panels, cases):
        _draw_case(panel, case)
    for panel in panels[len(cases) :]:
        panel.set_axis_off()
    handles = [Patch(color=colour, label=label) for label, colour in ROLES.items()]
    figure.legend(handles=handles, loc='lower center', ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    save(figure, path)


def _draw_case(panel: Axes, case: Case) -> None:
    longest = max(one.seconds.upper for one in case.measurements)
    for place, one in enumerate(case.measurements):
        low, median, high = (1e3 * value for value in _ordered(one.seconds))
        role = 'ours, for control or plain' if place else 'ours'
        if one.rival:
            role = 'rival tuned' if one.tuned else 'rival as shipped'
        panel.barh(
            *(place, median),
            xerr=[[median - low], [high - median]],
            color=ROLES[role],
            error_kw={'ecolor': '#444444', 'capsize': 2, 'elinewidth': 1},
        )
        panel.text(high + 15 * longest, place, f'{one.ratio.median:.2f}×', va='center')
    panel.set_yticks(range(len(case.measurements)), [one.name for one in case.measurements])
    panel.invert_yaxis()  # ours on top
    panel.set_xlim(0, 1.16e3 * longest)
    panel.set_xlabel('ms a step (beside the bar: time ÷ ours)')
    panel.set_title(case.title, loc='left', fontsize=11)
    panel.spines[['top', 'right']].set_visible(False)
