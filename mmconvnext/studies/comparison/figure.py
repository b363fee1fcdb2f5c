"""Plot published accuracy against a model's costs on this machine."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.figures import COLOURS, bare, new_figure, save
from mmconvnext.studies.comparison.families import MODELS
from mmconvnext.studies.comparison.published import METRICS, SOURCES
from mmconvnext.studies.comparison.run import Row


class Look(NamedTuple):
    """How a family is drawn; families place the names of points on different sides."""

    label: str
    colour: str
    marker: str
    offset: tuple[int, int]  # of a point's name, in points
    align: str


LOOKS: Mapping[str, Look] = {
    'convnext': Look('ConvNeXt', COLOURS[0], 'o', (-5, 5), 'right'),
    'swin': Look('Swin', COLOURS[1], 's', (6, -11), 'left'),
    'resnet': Look('ResNet', COLOURS[2], '^', (6, -11), 'left'),
    'convnext_plain': Look('ConvNeXt, plain', COLOURS[5], 'D', (6, 5), 'left'),
}
AXES = {'upernet': 'ADE20K mIoU, multi-scale', 'mask_rcnn': 'COCO box AP'}


class Panel(NamedTuple):
    """One kind of cost: its axis, and a function for a row's value or None."""

    label: str
    cost: Callable[[Row], Spread | None]


def panels(rows: Sequence[Row], sizes: Mapping[str, str]) -> list[Panel]:
    """Return one model's kinds of cost; ``sizes`` is the measured batch by mode, ``1 × 512²``."""
    height, width = MODELS[rows[0].model].counted
    found = [Panel(f'counted here: GMACs at {width} × {height}', _gmacs)]
    for mode, images in sizes.items():
        label = f'measured here: seconds an image,\n{mode} of {images}'
        found.append(Panel(label, partial(_seconds, mode=mode)))
    return found


def _gmacs(row: Row) -> Spread:
    gmacs = row.counted.macs / 1e9
    return Spread(gmacs, gmacs, gmacs)


def _seconds(row: Row, mode: str) -> Spread | None:
    if mode not in row.measured:
        return None
    rate = row.measured[mode].pictures_per_second
    return Spread(1 / rate.median, 1 / rate.upper, 1 / rate.lower)


def draw(
    rows: Sequence[Row], path: Path, sizes: Mapping[str, Mapping[str, str]], where: str
) -> None:
    """Write a PNG with a row of panels for each model: accuracy over cost.

    ``sizes`` has the argument of :func:`panels` by model; ``where`` is the measuring machine, or
    ''. Raises UserError if the file cannot be written.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    of = {model: [row for row in rows if row.model == model] for model in models}
    kinds = {model: panels(of[model], sizes.get(model, {})) for model in models}
    columns = max(map(len, kinds.values()))
    width = max(3.9 * columns, 5.6)
    figure = new_figure(width, 3.5 * len(models) + 0.9)
    grid = figure.subplots(len(models), columns, squeeze=False, sharey='row')
    for model, line in zip(models, grid):
        for panel, axes in zip(kinds[model], line):
            _draw_panel(axes, of[model], panel)
        for axes in line[len(kinds[model]) :]:
            axes.set_axis_off()
        line[0].set_ylabel(f'published: {AXES[model]}, %')
        line[0].set_title(MODELS[model].title, loc='left', fontsize=11)
    families = {row.backbone.family for row in rows}
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.label)
        for family, look in LOOKS.items()
        if family in families
    ]
    figure.legend(handles=handles, loc='outside upper center', ncols=len(handles), frameon=False)
    footer = _footer(rows, where, int(15.5 * width))
    figure.supxlabel(footer, fontsize=8, color='#444444')
    save(figure, path)


def _footer(rows: Sequence[Row], where: str, characters: int) -> str:
    sources = sorted({row.published.source for row in rows if row.published})
    authors = ', '.join(SOURCES[source].split(',')[0] for source in sources)
    sentences = [f'Accuracy: published by {authors or "nobody"}; recipes differ.']
    if any(_from_22k(row) for row in rows):
        sentences[0] += ' Open signs: pre-trained on ImageNet-22K, 640² crops.'
    for model in dict.fromkeys(row.model for row in rows):
        names = [row.backbone.label for row in rows if row.model == model and not row.published]
        if names:
            sentences.append(f'{MODELS[model].title}, nothing published: {", ".join(names)}.')
    if where:
        sentences.append(f'Measured: {where}. Bars: quartiles.')
    return '\n'.join(line for one in sentences for line in textwrap.wrap(one, characters))


def _from_22k(row: Row) -> bool:
    return row.published is not None and row.published.setting.startswith('22K')


def _draw_panel(axes: Axes, rows: Sequence[Row], panel: Panel) -> None:
    metric = METRICS[rows[0].model][0]
    for family, look in LOOKS.items():
        points = [
            (cost, row.published.accuracy[metric], row)
            for row in rows
            if row.backbone.family == family and row.published and (cost := panel.cost(row))
        ]
        joined = [(cost.median, y) for cost, y, row in points if not _from_22k(row)]
        if len(joined) > 1:
            axes.plot(*zip(*joined), color=look.colour, linewidth=1.2)
        for cost, y, row in points:
            fill = 'white' if _from_22k(row) else look.colour
            errors = [[cost.median - cost.lower], [cost.upper - cost.median]]
            axes.errorbar(cost.median, y, xerr=errors, fmt=look.marker, color=look.colour,
                          capsize=2, markersize=6.5, markerfacecolor=fill)  # fmt: skip
            axes.annotate(_name(row), (cost.median, y), look.offset, textcoords='offset points',
                          ha=look.align, fontsize=8.5, color=look.colour)  # fmt: skip
    axes.set_xlabel(panel.label)
    axes.margins(0.14, 0.14)
    bare(axes, color='#dddddd', linewidth=0.6)


def _name(row: Row) -> str:
    """Return the size, or a ResNet's depth."""
    if row.backbone.family == 'resnet':
        return row.backbone.label.removeprefix('ResNet-')
    return row.backbone.size
