"""Table and plot of a config's learning rates."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from mmconvnext.analysis.learning_rates.plan import LearningRatePlan
from mmconvnext.analysis.learning_rates.rates import Group, layer_names
from mmconvnext.figures import COLOURS, bare, new_figure, save

_NAMES_SHOWN = 4


def groups_table(groups: list[Group]) -> Table:
    """Return a table with one row for each parameter group, the stem's first."""
    table = Table('layer', 'names')
    for header in ('× base', 'learning rate', 'weight decay', 'parameters'):
        table.add_column(header, justify='right', no_wrap=True)
    for group in groups:
        table.add_row(
            '–' if group.layer is None else str(group.layer),
            _shortened(layer_names(groups, group)),
            f'{group.lr_scale:.3g}',
            f'{group.lr:.3g}',
            f'{group.weight_decay:g}',
            f'{group.parameters:,}',
        )
    return table


def schedule_table(plan: LearningRatePlan) -> Table:
    """Return a table of the plan's two rates, usually heads and stem, at each schedule change."""
    per_epoch = plan.length.per_epoch
    table = Table()
    for header in ('iteration', *(['epoch'] if per_epoch else []), *plan.rates.ends()):
        table.add_column(header, justify='right')
    for turn in plan.schedule.turns:
        epoch = [f'{turn / per_epoch:.4g}'] if per_epoch else []
        table.add_row(f'{turn:,}', *epoch, *(f'{one:.3g}' for one in plan.schedule.rates[:, turn]))
    return table


def _shortened(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ', '.join(names[:_NAMES_SHOWN]) + (f' and {more} more' if more > 0 else '')


def draw(title: str, plan: LearningRatePlan, path: Path) -> None:
    """Write a PNG with each layer's rate as a heat map, and heads' and stem's rates over time.

    Raises UserError if the file cannot be written.
    """
    rows = _rows(plan.rates.groups)
    columns = _columns(plan.rates.groups)
    figure = new_figure(7.5 + 0.75 * len(columns), max(3.8, 1.8 + 0.3 * len(rows)))
    figure.suptitle(title, x=0.01, ha='left', fontsize=12)
    left, right = figure.subplots(1, 2, width_ratios=(1.6 + 0.75 * len(columns), 5))
    _draw_heat_map(figure, left, rows, columns, bool(plan.rates.layers))
    _draw_schedule(right, plan)
    save(figure, path)


def _rows(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Return groups by layer, or by learning rate if there are no layers; the heads' last."""
    rows: dict[str, list[Group]] = {}
    for group in groups:
        name = f'× {group.lr_scale:.3g}' if group.layer is None else str(group.layer)
        rows.setdefault(name, []).append(group)
    return rows


def _columns(groups: Iterable[Group]) -> list[str]:
    """Return parts of the model: stem and downsampling, stages, then other parts in order."""
    found = dict.fromkeys(_column(name) for group in groups for name in group.names)
    stages = sorted(part for part in found if part.startswith('stage '))
    first = [part for part in ('downsampling', *stages) if part in found]
    return first + [part for part in found if part not in first]


def _column(name: str) -> str:
    parts = name.split('.')
    if parts[0] != 'backbone' or len(parts) < 3:
        return parts[0].replace('_', ' ')
    if parts[1] == 'stages' and parts[2].isdigit():
        return f'stage {int(parts[2]) + 1}'
    if parts[1].startswith('norm'):
        return 'output norms'
    return 'downsampling' if parts[1] == 'downsample_layers' else 'backbone'


def _draw_heat_map(
    figure: Figure, axes: Axes, rows: dict[str, list[Group]], columns: list[str], layered: bool
) -> None:
    values = np.full((len(rows), len(columns)), np.nan)
    for row, groups in enumerate(rows.values()):
        for group in groups:
            for name in group.names:
                column = columns.index(_column(name))
                values[row, column] = np.fmax(values[row, column], group.lr)
    low, high = np.nanmin(values), np.nanmax(values)
    norm = LogNorm(low, high) if 0 < low < high else Normalize(0, high or 1)
    image = axes.imshow(values, cmap='cividis', norm=norm, aspect='auto')
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        colour = 'black' if norm(value) > 0.5 else 'white'
        axes.text(column, row, f'{value:.1e}', color=colour, ha='center', va='center', fontsize=7)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha='right', rotation_mode='anchor')
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylabel('layer id' if layered else 'factor of the rate')
    axes.set_title('learning rate of each layer', loc='left', fontsize=10)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which='minor', color='0.9', linewidth=0.5)
    axes.tick_params(which='minor', length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, pad=0.02)


def _draw_schedule(axes: Axes, plan: LearningRatePlan) -> None:
    at, per_epoch = plan.points(), plan.length.per_epoch
    x = at / per_epoch if per_epoch else at
    curves = dict(zip(plan.rates.ends(), plan.schedule.rates))
    if np.array_equal(*plan.schedule.rates):
        curves = {'all layers': plan.schedule.rates[0]}
    for (name, values), colour in zip(curves.items(), COLOURS):
        axes.plot(x, values[at], label=name, color=colour, linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, x[-1])
    assumed = 'assumed to be of' if plan.length.assumed else 'of'
    epoch = f'epoch ({assumed} {per_epoch:,} iterations)' if per_epoch else 'iteration'
    axes.set_xlabel(epoch)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter('{x:,.0f}')
    axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 3))
    axes.set_title('learning rate over the run', loc='left', fontsize=10)
    axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    bare(axes)
