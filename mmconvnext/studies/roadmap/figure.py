"""The paper's figure 2 drawn anew: a row for each step, a panel for each quantity."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.figures import COLOURS, new_figure, save
from mmconvnext.studies.roadmap.network import ROADMAP
from mmconvnext.studies.roadmap.runs import DataSet
from mmconvnext.studies.roadmap.table import ENDS, Row, Way

# Published blue, a person's own vermilion, counted green; light, of the same hue: not kept.
PUBLISHED, OWN, COUNTED = COLOURS[0], COLOURS[1], COLOURS[2]
INFERENCE, TRAINING, RIVAL = COLOURS[3], COLOURS[4], '#777777'
_HATCH = '/////'
# Free space above a chapter's rows, in rows: its name stands there.
_CHAPTER = 0.75
_BAR = 0.72
# Inches of panels up to which two regimes stand side by side.
_WIDEST = 20


class Panel(NamedTuple):
    """A column of the figure."""

    title: str
    width: float  # in inches
    draw: Callable[[Axes, Way, Sequence[float]], None]


def draw_roadmap(ways: Sequence[Way], path: Path) -> None:
    """Write a PNG, the regimes side by side.

    Raises:
        UserError: it cannot be written there.
    """
    save(roadmap_figure(ways), path)


def roadmap_figure(ways: Sequence[Way]) -> Figure:
    """The figure of one or two regimes with the same steps, one above the other where wide."""
    data_sets = list(dict.fromkeys(data for way in ways for data in way.data_sets()))
    panels = [_panels(way, data_sets) for way in ways]
    widths = [panel.width for panel in panels[0]]
    stacked = len(ways) * sum(widths) > _WIDEST
    rows = len(ways) if stacked else 1
    if not stacked:
        widths *= len(ways)
    places, chapters = _places(ways[0].rows)
    height = rows * (0.8 + 0.25 * (places[-1] + 2)) + 0.9
    figure = new_figure(2.1 + sum(widths) + 0.2 * len(widths), height)
    axes = figure.subplots(
        *(rows, len(widths)), sharey='row', squeeze=False, gridspec_kw={'width_ratios': widths}
    )
    for number, (way, row) in enumerate(zip(ways, axes if stacked else _parts(axes[0], len(ways)))):
        for one, panel in zip(row, panels[number]):
            panel.draw(one, way, places)
            _finish(one, panel.title, places)
    for number, row in enumerate(axes):
        _name_rows(row[0], [ways[number]] if stacked else ways, places, chapters)
    _legend(figure, ways)
    return figure


def _parts(row: Sequence[Axes], number: int) -> list[Sequence[Axes]]:
    each = len(row) // number
    return [row[first : first + each] for first in range(0, len(row), each)]


def _panels(way: Way, data_sets: Sequence[DataSet]) -> list[Panel]:
    title = f'{way.title}\ntop-1 on ImageNet-1K, %'
    panels = [Panel(title, 3.3, _draw_published)]
    for data in data_sets:
        panels.append(Panel(f'your own top-1, %, on\n{data.label}', 2.4, _own_drawer(data)))
    panels.append(Panel('multiply-accumulates\nat 224², G', 2.0, _draw_macs))
    panels.append(Panel('parameters, M', 1.6, _draw_parameters))
    if way.timed:
        for name, colour in (('inference', INFERENCE), ('training', TRAINING)):
            what = 'training step' if name == 'training' else name
            drawer = _timing_drawer(name, colour)
            panels.append(Panel(f'{what}, ms\n(measured, quartiles)', 1.9, drawer))
    return panels


def _places(rows: Sequence[Row]) -> tuple[list[float], list[tuple[float, str]]]:
    """Places of the rows and of the rival below them, and of the chapters' names."""
    places: list[float] = []
    chapters: list[tuple[float, str]] = []
    place, chapter = -1.0, ''
    for row in rows:
        if row.step.chapter != chapter:
            chapter = row.step.chapter
            place += _CHAPTER
            chapters.append((place + 0.05, chapter))
        place += 1
        places.append(place)
    return [*places, place + 1 + _CHAPTER], chapters


def _name_rows(
    axes: Axes, ways: Sequence[Way], places: Sequence[float], chapters: Sequence[tuple[float, str]]
) -> None:
    ends = [ENDS[way.regime] for way in ways]
    names = []
    for row in ways[0].rows:
        name = row.step.title
        if row.step == ROADMAP[0]:
            name = ' / '.join(first for first, _ in ends)
        elif row.step == ROADMAP[-1]:
            name = f'{name}\n= {" / ".join(last for _, last in ends)}'
        names.append(name)
    rivals = ' / '.join(way.rival.name for way in ways)
    axes.set_yticks(places, [*names, rivals], fontsize=8.5)
    axes.tick_params(labelleft=True)
    for place, name in chapters:
        axes.text(
            *(0.012, place, name),
            transform=axes.get_yaxis_transform(),
            **{'fontsize': 8.5, 'fontweight': 'bold', 'va': 'center'},
        )


def _draw_published(axes: Axes, way: Way, places: Sequence[float]) -> None:
    values = [row.published.top1 for row in way.rows]
    errors = [row.published.deviation or 0 for row in way.rows]
    _bars(axes, way, places, values, PUBLISHED, errors if any(errors) else None)
    rival = way.rival.published.top1
    axes.barh(places[-1], rival, height=_BAR, color=RIVAL)
    axes.axvline(rival, color=RIVAL, linestyle='--', linewidth=1, zorder=0)
    low, high = min([*values, rival]), max([*values, rival])
    axes.set_xlim(math.floor(low) - 1, high + 0.24 * (high - math.floor(low) + 1))
    for place, value, error in zip(places, [*values, rival], [*errors, 0]):
        _write(axes, value + error, place, f'{value:.2f}')


def _own_drawer(data: DataSet) -> Callable[[Axes, Way, Sequence[float]], None]:
    def draw(axes: Axes, way: Way, places: Sequence[float]) -> None:
        results = [row.own.get(data) for row in way.rows]
        values = [math.nan if one is None else one.top1 for one in results]
        errors = [0 if one is None else one.deviation or 0 for one in results]
        _bars(axes, way, places, values, OWN, errors if any(errors) else None)
        measured = [value for value in values if math.isfinite(value)] or [100]
        low = max(0, math.floor(min(measured)) - 1)
        axes.set_xlim(low, max(measured) + 0.3 * (max(measured) - low))
        for place, one, error in zip(places, results, errors):
            if one is not None:
                _write(axes, one.top1 + error, place, f'{one.top1:.2f}{"…" * bool(one.unfinished)}')

    return draw


def _draw_macs(axes: Axes, way: Way, places: Sequence[float]) -> None:
    counted = [row.counted.macs / 1e9 for row in way.rows]
    published = [row.published.gflops for row in way.rows] + [way.rival.published.gflops]
    axes.hlines(places[:-1], 0, counted, color=COUNTED, linewidth=1.2)
    axes.plot(counted, places[:-1], '*', color=COUNTED, markersize=9, markeredgewidth=0)
    axes.plot(published, places, **_PUBLISHED_MACS)
    axes.set_xlim(0, 1.3 * max([*counted, *published]))
    for place, one, printed, row in zip(places, counted, published, way.rows):
        mark = '†' if row.published.note else ''
        _write(axes, max(one, printed), place, f'{one:.2f}{mark}', 6)
    _write(axes, published[-1], places[-1], f'{published[-1]:.2f}', 6, PUBLISHED)


_PUBLISHED_MACS = {
    'marker': 'o',
    'linestyle': 'none',
    'markerfacecolor': 'none',
    'markeredgecolor': PUBLISHED,
    'markersize': 9,
}


def _draw_parameters(axes: Axes, way: Way, places: Sequence[float]) -> None:
    values = [row.counted.parameters / 1e6 for row in way.rows]
    _bars(axes, way, places, values, COUNTED)
    axes.set_xlim(0, 1.35 * max(values))
    for place, value in zip(places, values):
        _write(axes, value, place, f'{value:.1f}')


def _timing_drawer(name: str, colour: str) -> Callable[[Axes, Way, Sequence[float]], None]:
    def draw(axes: Axes, way: Way, places: Sequence[float]) -> None:
        spreads: list[Spread] = [getattr(row.timing, name) for row in way.rows]
        medians = [1e3 * one.median for one in spreads]
        errors = [
            [1e3 * (one.median - one.lower) for one in spreads],
            [1e3 * (one.upper - one.median) for one in spreads],
        ]
        _bars(axes, way, places, medians, colour, errors)
        axes.set_xlim(0, 1.35e3 * max(one.upper for one in spreads))
        for place, one in zip(places, spreads):
            text = f'{1e3 * one.median:,.0f}' if one.median >= 0.1 else f'{1e3 * one.median:#.3g}'
            _write(axes, 1e3 * one.upper, place, text)

    return draw


def _bars(
    axes: Axes,
    way: Way,
    places: Sequence[float],
    values: Sequence[float],
    colour: str,
    errors: Sequence | None = None,
) -> None:
    """A bar for each row, hatched where the paper did not keep the step."""
    bars = axes.barh(
        *(places[: len(values)], values, _BAR),
        color=[colour if row.step.kept else 'white' for row in way.rows],
        edgecolor=colour,
        linewidth=0.8,
        xerr=errors,
        error_kw={'ecolor': '#222222', 'capsize': 2, 'elinewidth': 1},
    )
    for bar, row in zip(bars, way.rows):
        if not row.step.kept:
            bar.set_hatch(_HATCH)


def _write(
    axes: Axes, x: float, place: float, text: str, distance: float = 4, colour: str = 'black'
) -> None:
    """Beside a bar; on white, since lines may pass there."""
    axes.annotate(
        *(text, (x, place), (distance, -0.5)),
        **{'textcoords': 'offset points', 'va': 'center', 'fontsize': 7.5, 'color': colour},
        bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 0.6},
    )


def _finish(axes: Axes, title: str, places: Sequence[float]) -> None:
    axes.set_ylim(places[-1] + 0.6, -1.0)
    axes.set_title(title, loc='left', fontsize=9)
    axes.tick_params(axis='y', length=0)
    axes.tick_params(axis='x', labelsize=8)
    axes.grid(axis='x', color='0.92')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _legend(figure: Figure, ways: Sequence[Way]) -> None:
    """What the colours and signs are; each says who found the number."""
    handles: list = [
        Patch(color=PUBLISHED, label='published accuracy, standard deviation'),
        Patch(color=RIVAL, label='Swin, published'),
        Line2D([], [], marker='*', markersize=9, color=COUNTED, linestyle='-', label='counted'),
        Line2D([], [], label='published', **_PUBLISHED_MACS),
        Patch(facecolor='white', edgecolor='0.3', hatch=_HATCH, label='tried and not kept'),
    ]
    if any(way.notes() for way in ways):
        sign = {'marker': '$\\dag$', 'color': 'black', 'linestyle': 'none', 'markersize': 7}
        handles.append(Line2D([], [], label='a contradiction in the paper', **sign))
    if any(result.unfinished for way in ways for row in way.rows for result in row.own.values()):
        sign = {'marker': '$\\ldots$', 'color': 'black', 'linestyle': 'none', 'markersize': 9}
        handles.append(Line2D([], [], label='your training had not ended', **sign))
    columns = min(len(handles), int(figure.get_figwidth() / 2.9))
    place = {'loc': 'outside lower left', 'ncols': columns}
    figure.legend(handles=handles, frameon=False, fontsize=8.5, **place)
