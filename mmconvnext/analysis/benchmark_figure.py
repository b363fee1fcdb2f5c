"""The table and the bar chart of measured cases."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.table import Table

from mmconvnext.analysis.benchmark import Case, Measurement, control_name
from mmconvnext.figures import save

# Of Okabe and Ito, which colour-blind people tell apart too.
COLOURS = {
    'ours': '#0072B2',
    'ours, for control or plain': '#56B4E9',
    'rival as shipped': '#BBBBBB',
    'rival tuned': '#E69F00',
}
COLUMNS = 2


def table(case: Case) -> Table:
    """One row for each variant; the quartiles stand in brackets."""
    written = Table(title=case.title, caption=caption(case), title_justify='left')
    written.caption_justify = 'left'
    written.add_column('')
    headers = ('ms', 'time ÷ ours', 'peak memory, MiB', 'of GEMM ceiling', 'difference')
    for header in headers:
        written.add_column(header, justify='right')
    with_first = any('compiled' in one.name for one in case.measurements)
    if with_first:
        written.add_column('first step, s', justify='right')
    for one in case.measurements:
        first = [_three_digits(one.first_seconds)] if with_first else []
        written.add_row(one.name, *_cells(one), *first, style=None if one.rival else 'bold')
    return written


def _cells(one: Measurement) -> list[str]:
    median, lower, upper = (
        _three_digits(1e3 * value) for value in dataclasses.astuple(one.seconds)
    )
    return [
        f'{median} [{lower}, {upper}]',
        f'{one.ratio.median:.2f} [{one.ratio.lower:.2f}, {one.ratio.upper:.2f}]',
        '–' if one.peak_bytes is None else f'{one.peak_bytes / 2**20:.0f}',
        '–' if one.gemm_fraction is None else f'{one.gemm_fraction:.0%}',
        f'{one.difference:.0e}' if one.difference else '0',
    ]


def _three_digits(value: float) -> str:
    return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'


def caption(case: Case) -> str:
    """What the numbers of a case are of, and ours against each rival's best."""
    lines = [
        f'{case.rounds} interleaved rounds, medians and quartiles; ratios paired within a round',
        f'GEMM ceiling {case.gemm_gflops:.0f} GFLOP/s'
        + (f'; nominal {case.macs / 1e9:.1f} GMAC a step' if case.macs else ''),
    ]
    best = [
        f'{rival} {one.ratio.median:.2f} ({one.name})' if one.tuned else
        f'{rival} {one.ratio.median:.2f}'
        for rival, one in case.best_of_rivals().items()
    ]  # fmt: skip
    if best:
        lines.append(f'each at its best, time ÷ ours: {"; ".join(best)}')
    return '\n'.join(lines)


def draw(cases: Sequence[Case], path: Path) -> None:
    """Write a PNG: a panel for each case, a bar for each variant, quartiles as error bars."""
    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)
    bars = max(len(case.measurements) for case in cases)
    figure = Figure(figsize=(7.5 * columns, rows * (1.1 + 0.32 * bars) + 0.7), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, case in zip(panels, cases):
        _draw_case(panel, case)
    for panel in panels[len(cases) :]:
        panel.set_axis_off()
    handles = [Patch(color=colour, label=label) for label, colour in COLOURS.items()]
    figure.legend(handles=handles, loc='lower center', ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    save(figure, path)


def _draw_case(panel, case: Case) -> None:
    reference = case.measurements[0].name
    longest = max(one.seconds.upper for one in case.measurements)
    for place, one in enumerate(case.measurements):
        low, high = one.seconds.median - one.seconds.lower, one.seconds.upper - one.seconds.median
        panel.barh(
            place,
            1e3 * one.seconds.median,
            xerr=[[1e3 * low], [1e3 * high]],
            color=COLOURS[_role(one, reference)],
            error_kw={'ecolor': '#444444', 'capsize': 2, 'elinewidth': 1},
        )
        text = f'{one.ratio.median:.2f}×'
        panel.text(1e3 * (one.seconds.upper + 0.015 * longest), place, text, va='center')
    panel.set_yticks(range(len(case.measurements)), [one.name for one in case.measurements])
    panel.invert_yaxis()  # ours on top
    panel.set_xlim(0, 1.16e3 * longest)
    panel.set_xlabel('ms a step (beside the bar: time ÷ ours)')
    panel.set_title(case.title, loc='left', fontsize=11)
    panel.spines[['top', 'right']].set_visible(False)


def _role(one: Measurement, reference: str) -> str:
    if one.rival:
        return 'rival tuned' if one.tuned else 'rival as shipped'
    plain = one.name != reference or one.name == control_name(reference)
    return 'ours, for control or plain' if plain else 'ours'
