"""The paper's figure 2 with our counts: a row for each step, a panel for each quantity."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.figures import COLOURS, bare, new_figure, save
from mmconvnext.studies.roadmap.results import PublishedNetwork
from mmconvnext.studies.roadmap.runs import DataSet, OwnResult
from mmconvnext.studies.roadmap.steps import ROADMAP
from mmconvnext.studies.roadmap.table import ENDS, Row, Way, milliseconds

# Published: blue; the user's: vermilion; counted: green; steps not kept: lighter.
PUBLISHED, OWN, COUNTED = COLOURS[0], COLOURS[1], COLOURS[2]
INFERENCE, TRAINING, RIVAL = COLOURS[3], COLOURS[4], '#777777'
_HATCH = '/////'
# Space for a chapter's name above its rows, in rows.
_CHAPTER = 0.75
_BAR = 0.72
# Maximal width of panels, in inches, for two regimes side by side.
_WIDEST = 20


class Panel(NamedTuple):
    """A column of the figure."""

    title: str
    width: float  # in inches
    draw: Callable[[Axes, Way, Sequence[float]], None]


def draw_roadmap(ways: Sequence[Way], path: Path) -> None:
    """Write a PNG; raise UserError if it cannot be written."""
    save(roadmap_figure(ways), path)


def roadmap_figure(ways: Sequence[Way]) -> Figure:
    """Return a figure of one or two regimes with the same steps; wide ones are stacked."""
    data_sets = list(dict.fromkeys(data for way in ways for data in way.data_sets()))
    panels = [_panels(way, data_sets) for way in ways]
    widths = [panel.width for panel in panels[0]]
    stacked = len(ways) * sum(widths) > _WIDEST
    named = [[way] for way in ways] if stacked else [ways]
    widths *= len(named[0])
    places, chapters = _places(ways[0].rows)
    height = len(named) * (0.8 + 0.25 * (places[-1] + 2)) + 0.9
    figure = new_figure(2.1 + sum(widths) + 0.2 * len(widths), height)
    shape = (len(named), len(widths))
    axes = figure.subplots(*shape, sharey='row', squeeze=False, width_ratios=widths)
    for way, row, panels_of_way in zip(ways, axes.reshape(len(ways), -1), panels):
        for one, panel in zip(row, panels_of_way):
            panel.draw(one, way, places)
            _finish(one, panel.title, places)
    for row, of_row in zip(axes, named):
        _name_rows(row[0], of_row, places, chapters)
    _legend(figure, ways)
    return figure


def _panels(way: Way, data_sets: Sequence[DataSet]) -> list[Panel]:
    title = f'{way.title}\ntop-1 on ImageNet-1K, %'
    panels = [Panel(title, 3.3, _draw_published)]
    for data in data_sets:
        title = f'your own top-1, %, on\n{data.label}'
        panels.append(Panel(title, 2.4, partial(_draw_own, data=data)))
    panels.append(Panel('multiply-accumulates\nat 224², G', 2.0, _draw_macs))
    panels.append(Panel('parameters, M', 1.6, _draw_parameters))
    if way.timed:
        for name, mode in (('inference', 0), ('training step', 1)):
            title = f'{name}, ms\n(measured, quartiles)'
            panels.append(Panel(title, 1.9, partial(_draw_timing, mode=mode)))
    return panels


def _places(rows: Sequence[Row]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return positions of the rows, of the rival below them, and of the chapters' names."""
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
        axes.text(0.012, place, name, transform=axes.get_yaxis_transform(), fontsize=8.5,
                  fontweight='bold', va='center')  # fmt: skip


class Bar(NamedTuple):
    """A value, its spread, and the text at its end."""

    spread: Spread
    text: str


def _accuracy_bar(result: PublishedNetwork | OwnResult, sign: str = '') -> Bar:
    top1, deviation = result.top1, result.deviation or 0
    return Bar(Spread(top1, top1 - deviation, top1 + deviation), f'{top1:.2f}{sign}')


def _draw_published(axes: Axes, way: Way, places: Sequence[float]) -> None:
    _draw_bars(axes, way, places, [_accuracy_bar(row.published) for row in way.rows], PUBLISHED)
    rival = way.rival.published.top1
    axes.barh(places[-1], rival, height=_BAR, color=RIVAL)
    axes.axvline(rival, color=RIVAL, linestyle='--', linewidth=1, zorder=0)
    _write(axes, rival, places[-1], f'{rival:.2f}')
    values = [rival, *(row.published.top1 for row in way.rows)]
    low, high = math.floor(min(values)), max(values)
    axes.set_xlim(low - 1, high + 0.24 * (high - low + 1))


def _draw_own(axes: Axes, way: Way, places: Sequence[float], data: DataSet) -> None:
    results = [row.own.get(data) for row in way.rows]
    bars = [one and _accuracy_bar(one, '…' * bool(one.unfinished)) for one in results]
    _draw_bars(axes, way, places, bars, OWN)
    values = [one.top1 for one in results if one] or [100]
    low = max(0, math.floor(min(values)) - 1)
    axes.set_xlim(low, max(values) + 0.3 * (max(values) - low))


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


_PUBLISHED_MACS: dict[str, Any] = dict(
    marker='o', linestyle='none', markerfacecolor='none', markeredgecolor=PUBLISHED, markersize=9
)


def _draw_parameters(axes: Axes, way: Way, places: Sequence[float]) -> None:
    values = [row.counted.parameters / 1e6 for row in way.rows]
    bars = [Bar(Spread(value, value, value), f'{value:.1f}') for value in values]
    _draw_bars(axes, way, places, bars, COUNTED)
    axes.set_xlim(0, 1.35 * max(values))


def _draw_timing(axes: Axes, way: Way, places: Sequence[float], mode: int) -> None:
    seconds = [row.timing[mode] for row in way.rows if row.timing]
    bars = [
        Bar(Spread(1e3 * s.median, 1e3 * s.lower, 1e3 * s.upper), milliseconds(s.median))
        for s in seconds
    ]
    _draw_bars(axes, way, places, bars, (INFERENCE, TRAINING)[mode])
    axes.set_xlim(0, 1.35e3 * max(one.upper for one in seconds))


def _draw_bars(
    axes: Axes, way: Way, places: Sequence[float], bars: Sequence[Bar | None], colour: str
) -> None:
    """Draw a bar for each row with a value, hatched if the paper did not keep the step."""
    drawn = [(p, row.step.kept, *bar) for p, row, bar in zip(places, way.rows, bars) if bar]
    places, kept, spreads, texts = zip(*drawn)
    errors = [[s.median - s.lower for s in spreads], [s.upper - s.median for s in spreads]]
    patches = axes.barh(
        places,
        [spread.median for spread in spreads],
        _BAR,
        color=[colour if one else 'white' for one in kept],
        edgecolor=colour,
        linewidth=0.8,
        xerr=errors if any(errors[1]) else None,
        error_kw={'ecolor': '#222222', 'capsize': 2, 'elinewidth': 1},
    )
    for patch, one in zip(patches, kept):
        patch.set_hatch(None if one else _HATCH)
    for place, spread, text in zip(places, spreads, texts):
        _write(axes, spread.upper, place, text)


def _write(
    axes: Axes, x: float, place: float, text: str, distance: float = 4, colour: str = 'black'
) -> None:
    """Write next to a bar, on white, because lines may pass there."""
    axes.annotate(text, (x, place), (distance, -0.5), textcoords='offset points', va='center',
                  fontsize=7.5, color=colour,
                  bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 0.6})  # fmt: skip


def _finish(axes: Axes, title: str, places: Sequence[float]) -> None:
    axes.set_ylim(places[-1] + 0.6, -1.0)
    axes.set_title(title, loc='left', fontsize=9)
    axes.tick_params(axis='y', length=0)
    axes.tick_params(axis='x', labelsize=8)
    bare(axes, axis='x')


def _legend(figure: Figure, ways: Sequence[Way]) -> None:
    """Draw the legend of colours and marks, with the source of each number."""
    handles: list[Artist] = [
        Patch(color=PUBLISHED, label='published accuracy, standard deviation'),
        Patch(color=RIVAL, label='Swin, published'),
        Line2D([], [], marker='*', markersize=9, color=COUNTED, linestyle='-', label='counted'),
        Line2D([], [], label='published', **_PUBLISHED_MACS),
        Patch(facecolor='white', edgecolor='0.3', hatch=_HATCH, label='tried and not kept'),
    ]
    sign = partial(Line2D, [], [], color='black', linestyle='none')
    if any(way.notes() for way in ways):
        handles.append(sign(marker='$\\dag$', markersize=7, label='a contradiction in the paper'))
    if any(result.unfinished for way in ways for row in way.rows for result in row.own.values()):
        handles.append(sign(marker='$\\ldots$', markersize=9, label='your training is unfinished'))
    columns = min(len(handles), int(figure.get_figwidth() / 2.9))
    figure.legend(handles=handles, frameon=False, fontsize=8.5, loc='outside lower left',
                  ncols=columns)  # fmt: skip
