"""Plot curves and class scores of one or several training runs, as PNGs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mmconvnext.analysis.logs.class_scores import ClassScores
from mmconvnext.analysis.logs.runs import Run, mean, smooth
from mmconvnext.figures import COLOURS, bare, line_style, new_figure, save

# Metrics that papers report.
MAIN_METRICS = ('mIoU', 'coco/bbox_mAP', 'coco/segm_mAP', 'accuracy/top1')
# With at most this number of evaluations, each gets a dot.
_DOTS = 40
_BARS_A_COLUMN = 50
# Maximal characters in a line of the legend.
_LONG_NAME = 66
# A loss is averaged over this fraction of its values.
_SMOOTH_PARTS = 50


def draw_all(
    runs: Sequence[Run], names: Sequence[str], window: int | None, folder: Path
) -> list[Path]:
    """Write loss.png, lr.png, metrics.png and classes_KIND.png, if there are values for them.

    ``names`` are the scalars of metrics.png. ``window`` is the number of logged losses that are
    averaged for the smooth curve; None averages a fiftieth of the run's losses. Returns the files
    written. Raises UserError if a file cannot be written.
    """
    figures: dict[str, Figure] = {}
    scalars = {name for run in runs for name in run.scalars()}
    if 'loss' in scalars:
        figures['loss'] = loss_figure(runs, window)
    if 'lr' in scalars:
        figures['lr'] = rates_figure(runs)
    if names:
        figures['metrics'] = metrics_figure(runs, names)
    for kind in dict.fromkeys(kind for run in runs for kind in run.classes):
        scores = {run.name: run.classes[kind] for run in runs if kind in run.classes}
        figures[f'classes_{kind.replace(" ", "_")}'] = classes_figure(kind, scores)
    files = {folder / f'{name}.png': figure for name, figure in figures.items()}
    for path, figure in files.items():
        save(figure, path)
    return [*files]


def main_metrics(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that papers report, or else the first four metrics of the runs."""
    names = list(dict.fromkeys(name for run in runs for name in run.metrics()))
    return [name for name in MAIN_METRICS if name in names] or names[:4]


def loss_figure(runs: Sequence[Run], window: int | None) -> Figure:
    """Plot the loss as logged (light) and smoothed."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    smoothed = False
    for number, run in enumerate(runs):
        x, y = _curve(run, 'loss', runs)
        style = line_style(number)
        size = window or max(1, len(y) // _SMOOTH_PARTS)
        if size > 1:
            smoothed = True
            axes.plot(x, y, color=style['color'], alpha=0.25, linewidth=1)
        marker = 'o' if len(x) == 1 else None
        axes.plot(x, smooth(y, size), linewidth=1.8, marker=marker, label=run.name, **style)
    axes.set_ylabel('loss')
    note = ', smoothed (light: as logged)' if smoothed else ''
    axes.set_title(f'training loss{note}', loc='left', fontsize=10)
    _finish(figure, [axes], runs)
    return figure


def rates_figure(runs: Sequence[Run]) -> Figure:
    """Plot the learning rates of heads and stem, or the only one that a run has logged."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    with_stem = any('stem_lr' in run.scalars() for run in runs)
    for number, run in enumerate(runs):
        # Wider lines below narrower ones, so that equal schedules of several runs stay visible.
        style: dict[str, Any] = {
            'color': line_style(number)['color'],
            'linewidth': 1.6 + len(runs) - 1 - number,
        }
        heads = 'base_lr' if 'stem_lr' in run.scalars() else 'lr'
        axes.plot(*_curve(run, heads, runs), label=run.name, **style)
        axes.plot(*_curve(run, 'stem_lr', runs), linestyle=':', **style)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 3))
    axes.set_ylabel('learning rate')
    note = ' of the heads (solid) and of the stem (dotted)' if with_stem else ''
    axes.set_title(f'learning rate{note}', loc='left', fontsize=10)
    _finish(figure, [axes], runs)
    return figure


def metrics_figure(runs: Sequence[Run], names: Sequence[str]) -> Figure:
    """Plot each scalar in its own panel, with a common time axis."""
    columns = min(len(names), 2)
    rows = math.ceil(len(names) / columns)
    figure = new_figure(6.4 if columns == 1 else 10, 0.8 + 3.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    for axes, name in zip(panels, names):
        values = set()
        for number, run in enumerate(runs):
            x, y = _curve(run, name, runs)
            dots = {'marker': 'o', 'markersize': 4} if len(x) <= _DOTS else {}
            axes.plot(x, y, label=run.name, linewidth=1.8, **line_style(number), **dots)
            values.update(y)
        if values == {0}:  # matplotlib would show -0.05 to 0.05
            axes.set_ylim(-0.02, 1)
        axes.set_title(name, loc='left', fontsize=10)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    _finish(figure, list(panels[: len(names)]), runs)
    return figure


def classes_figure(kind: str, scores: dict[str, ClassScores]) -> Figure:
    """Plot the first run's classes as bars, best on top, and the other runs as marks on them."""
    (first, bars), *others = scores.items()
    order = sorted(bars, key=lambda name: (math.isnan(bars[name]), -bars[name]))
    columns = math.ceil(len(order) / _BARS_A_COLUMN)
    each = math.ceil(len(order) / columns)
    longest = max(len(name) for name in order)
    height = 1.1 + 0.19 * each + (0.25 * (len(scores) + 1) if others else 0)
    figure = new_figure((3.6 + 0.07 * longest) * columns + 0.6, height)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for place, axes in enumerate(panels):
        names = order[place * each : (place + 1) * each]
        _draw_bars(axes, {name: bars[name] for name in names}, at_bars=not others)
        for number, (_, marks) in enumerate(others, 1):
            values = [marks.get(name, math.nan) for name in names]
            axes.plot(values, range(len(names)), **_mark(number))
        axes.set_ylim(each - 0.4, -0.6)
        axes.set_xlabel(f'{kind}, %')
    means = {name: f'mean {mean(one.values()):.1f}' for name, one in scores.items()}
    note = '' if others else f', {means[first]}'
    figure.suptitle(f'{kind} of each class{note}', x=0.01, ha='left', fontsize=11)
    if others:
        label = f'{_shortened(first)}: {means[first]} (bars)'
        handles: list[Artist] = [Patch(color=COLOURS[0], alpha=0.45, label=label)]
        for number, (name, _) in enumerate(others, 1):
            label = f'{_shortened(name)}: {means[name]}'
            handles.append(Line2D([], [], label=label, **_mark(number)))
        figure.legend(handles=handles, loc='outside lower left', frameon=False)
    return figure


def _draw_bars(axes: Axes, scores: ClassScores, *, at_bars: bool) -> None:
    """Draw bars from top to bottom, with the numbers at their ends or right of the axes."""
    shade = 1 if at_bars else 0.45  # light, so that marks on the bars are visible
    values = [*scores.values()]
    axes.barh(range(len(scores)), values, color=COLOURS[0], alpha=shade, height=0.75)
    coordinates: Any = 'data' if at_bars else ('axes fraction', 'data')
    for place, value in enumerate(values):
        text, x = f'{value:.1f}', value
        if math.isnan(value):
            text, x = 'no ground truth' if at_bars else '–', 0
        axes.annotate(text, (x if at_bars else 1, place), (3, 0), xycoords=coordinates,
                      textcoords='offset points', va='center', fontsize=7)  # fmt: skip
    axes.set_yticks(range(len(scores)), scores, fontsize=8)
    axes.set_xlim(0, 108 if at_bars else 100)
    bare(axes, axis='x')


def _mark(number: int) -> dict[str, Any]:
    colour, marker = COLOURS[number % len(COLOURS)], 'Ds^vPX*'[number % 7]
    edge = dict(markeredgecolor='white', markeredgewidth=0.5)
    return dict(color=colour, marker=marker, markersize=5.5, linestyle='none', **edge)


def _curve(run: Run, name: str, runs: Sequence[Run]) -> tuple[list[float], list[float]]:
    """Return times and values of a scalar; times are in epochs if all runs count epochs."""
    x, y = run.curve(name)
    unit = run.per_epoch if run.per_epoch and all(one.per_epoch for one in runs) else 1
    return [one / unit for one in x], y


def _finish(figure: Figure, panels: list[Axes], runs: Sequence[Run]) -> None:
    """Set labels and limits that all curves share; the legend is outside, to cover nothing."""
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter('{x:,.0f}')
        axes.tick_params(labelbottom=True)
        bare(axes)
        axes.set_xlabel('epoch' if all(run.per_epoch for run in runs) else 'iteration')
        axes.set_xlim(left=0)
    if len(runs) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        columns = 2 if max(map(len, labels)) <= _LONG_NAME // 2 else 1
        labels = [_shortened(label) for label in labels]
        figure.legend(handles, labels, loc='outside lower left', ncols=columns, frameon=False)


def _shortened(name: str) -> str:
    """Shorten a name to its end, which usually distinguishes runs."""
    return name if len(name) <= _LONG_NAME else f'…{name[-_LONG_NAME:]}'
