"""Plot a dataset's class frequencies, and the sizes of its objects and images."""

import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mmconvnext.figures import COLOURS, bare, new_figure, save
from mmconvnext.preflight.findings import Summary

_LOOKS = tuple(zip(COLOURS, 'oDs^'))  # markers are distinct in black and white
_GREY = '#888888'
_ROWS = 50  # classes in a column
_ROW_HEIGHT = 0.19  # inches
_LONGEST = 26  # characters of a class's name
_COCO_SIZES = (32, 96)  # pixels: bounds of COCO's small, medium and large


def draw_plots(summaries: Sequence[Summary], folder: Path) -> list[Path]:
    """Write the plots that have data, and return their paths.

    ``classes.png`` shows the share of each class in each dataset, the most frequent on top;
    ``sizes.png`` shows the sizes of images and, with boxes, of objects.
    """
    written = []
    counted = [summary for summary in summaries if sum(summary.counts)]
    if counted:
        _draw_classes(counted, folder / 'classes.png')
        written.append(folder / 'classes.png')
    if any(s.image_sizes or len(s.object_sizes) for s in summaries):
        _draw_sizes(summaries, folder / 'sizes.png')
        written.append(folder / 'sizes.png')
    return written


def _draw_classes(summaries: Sequence[Summary], path: Path) -> None:
    names = summaries[0].classes
    same = [summary for summary in summaries if summary.classes == names]
    shares = np.array([100 * np.array(s.counts, float) / sum(s.counts) for s in same])
    order = np.argsort(-shares[0], kind='stable')
    columns = -(-len(names) // _ROWS)
    rows = -(-len(names) // columns)
    width = 3.6 if columns > 1 else 6.4
    figure, panels = _new_figure(width * columns, rows * _ROW_HEIGHT + 1.3, columns)
    lowest = 10 ** np.floor(np.log10(shares[shares > 0].min())) / 2
    for place, panel in enumerate(panels):
        some = order[place * rows : (place + 1) * rows]
        _draw_column(panel, shares[:, some], same, lowest)
        panel.set_yticks(range(len(some)), [_shortened(names[i]) for i in some], fontsize=8)
        panel.set_ylim(rows - 0.4, -0.6)  # the most frequent on top
        panel.set_xscale('log')
        panel.set_xlim(lowest * 0.8, 130)
        _name_decades(panel)
        panel.set_xlabel(f'share of {summaries[0].unit} (%)', fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    if (shares == 0).any():
        handles.append(Line2D([], [], color=_GREY, marker='x', markersize=5, linestyle='none'))
        labels.append('none')
    figure.legend(
        handles, labels, loc='upper center', ncols=len(handles), frameon=False, fontsize=9
    )
    _save(figure, path, below=0.35)


def _draw_column(panel: Axes, shares: np.ndarray, summaries: list[Summary], lowest: float) -> None:
    """Plot shares (datasets, classes); missing ones are crosses at ``lowest``, grey if in none."""
    places = np.arange(shares.shape[1])
    seen = shares > 0
    both = seen.sum(axis=0) > 1
    if both.any():
        masked = np.where(seen, shares, np.nan)[:, both]
        ends = np.nanmin(masked, axis=0), np.nanmax(masked, axis=0)
        panel.hlines(places[both], *ends, color='#BBBBBB', linewidth=1)
    for summary, share, there, (colour, marker) in zip(summaries, shares, seen, cycle(_LOOKS)):
        panel.plot(
            *(share[there], places[there], marker),
            color=colour,
            markersize=4,
            markeredgewidth=0,
            label=_label(summary.name, summary.images, 'image'),
        )
    nowhere = ~seen.any(axis=0)
    marks = [(nowhere, _GREY)]
    marks += [(~there & ~nowhere, colour) for there, (colour, _) in zip(seen, cycle(_LOOKS))]
    for which, colour in marks:
        panel.plot(np.full(which.sum(), lowest), places[which], 'x', color=colour, markersize=4)
    panel.tick_params(axis='y', length=0)
    bare(panel, axis='x', color='#E5E5E5', linewidth=0.6)
    panel.spines['left'].set_visible(False)


def _shortened(name: str) -> str:
    # A dollar sign would start a formula.
    name = name.replace('$', r'\$')
    return name if len(name) <= _LONGEST else f'{name[: _LONGEST - 1]}…'


def _draw_sizes(summaries: Sequence[Summary], path: Path) -> None:
    objects = any(len(summary.object_sizes) for summary in summaries)
    figure, panels = _new_figure(9.6 if objects else 5.2, 4.2, 1 + objects)
    if objects:
        _draw_objects(panels[0], summaries)
    _draw_image_sizes(panels[-1], summaries)
    for panel in panels:
        panel.spines[['top', 'right']].set_visible(False)
    _save(figure, path)


def _draw_objects(panel: Axes, summaries: Sequence[Summary]) -> None:
    shown = [summary for summary in summaries if len(summary.object_sizes)]
    every = np.concatenate([summary.object_sizes for summary in shown])
    # About one bin for ten boxes, from a few to thirty bins.
    count = int(np.clip(len(every) / 10, 6, 30))
    low, high = max(every.min(), 1) / 1.05, every.max() * 1.05 + 1
    bins = np.geomspace(min(low, _COCO_SIZES[0] / 2), max(high, _COCO_SIZES[1] * 2), count)
    handles = []
    for summary, (colour, _) in zip(shown, cycle(_LOOKS)):
        number = len(summary.object_sizes)
        weights = np.full(number, 100 / number)
        look: dict = dict(weights=weights, histtype='step', linewidth=1.6, color=colour)
        panel.hist(summary.object_sizes, bins.tolist(), **look)
        label = _label(summary.name, number, 'box', 'es')
        handles.append(Line2D([], [], color=colour, label=label))
    panel.set_ylim(0, panel.get_ylim()[1] * 1.25)  # room for the legend
    for bound in _COCO_SIZES:
        panel.axvline(bound, color=_GREY, linewidth=0.8, linestyle=':')
    panel.set_xscale('log')
    _name_decades(panel)
    panel.set_xlabel('size of boxes, √(width × height) (pixels)')
    panel.set_ylabel('boxes (%)')
    panel.set_title("Objects; dotted: COCO's small, medium, large", loc='left', fontsize=10)
    panel.legend(handles=handles, frameon=False, fontsize=8)


def _draw_image_sizes(panel: Axes, summaries: Sequence[Summary]) -> None:
    shown = [summary for summary in summaries if summary.image_sizes]
    handles = []
    for summary, (colour, marker) in zip(shown, cycle(_LOOKS)):
        widths, heights = zip(*summary.image_sizes)
        counts = np.array([*summary.image_sizes.values()], float)
        look: dict = dict(marker=marker, alpha=0.8)
        areas = 12 + 150 * counts / counts.sum()
        panel.scatter(widths, heights, areas, facecolors='none', edgecolors=colour, **look)
        label = _label(summary.name, int(counts.sum()), 'image')
        empty: dict = dict(linestyle='none', markerfacecolor='none', markersize=5)
        handles.append(Line2D([], [], color=colour, label=label, **look, **empty))
    panel.set_xlabel('width (pixels)')
    panel.set_ylabel('height (pixels)')
    panel.set_xlim(0, 1.05 * panel.get_xlim()[1])
    panel.set_ylim(0, 1.25 * panel.get_ylim()[1])  # room for the legend
    panel.set_title('Images; larger marks: more of that size', loc='left', fontsize=10)
    panel.legend(handles=handles, loc='upper left', frameon=False, fontsize=8)


def _label(name: str, count: int, thing: str, plural: str = 's') -> str:
    return f'{name} ({count:,} {thing}{plural if count != 1 else ""})'


def _name_decades(panel: Axes) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5 of each decade."""
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _new_figure(width: float, height: float, columns: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with one row of panels; sides in inches."""
    figure = new_figure(width, height, dpi=200, layout=None)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Figure, path: Path, below: float = 0) -> None:
    """Lay out and write a figure; ``below`` inches at its top stay free."""
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; the warning does not help.
        warnings.filterwarnings('ignore', 'Glyph .* missing from font')
        figure.tight_layout(rect=(0, 0, 1, 1 - below / figure.get_figheight()))
        save(figure, path)
