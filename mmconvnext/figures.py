"""Shared parts of all figures: colours, sizes and saving."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmconvnext.files import whole_file

# Okabe and Ito's palette, which colour-blind people can distinguish; darkest first.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
# Line styles, for more lines than colours and for printing in grey.
STYLES = ('-', '--', ':', '-.')
DOTS_PER_INCH = 150


def new_figure(
    width: float, height: float, dpi: int = DOTS_PER_INCH, layout: Any = 'constrained'
) -> Figure:
    """Return an empty figure, sides in inches, whose parts do not overlap."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def line_style(number: int) -> dict[str, Any]:
    """Return colour and line style of the n-th line, different for the first 28."""
    return {
        'color': COLOURS[number % len(COLOURS)],
        'linestyle': STYLES[number // len(COLOURS) % len(STYLES)],
    }


def bare(axes: Axes, **grid: Any) -> None:
    """Draw a light grid in the background, and no frame at the top and right."""
    axes.grid(**{'color': '0.92'} | grid)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG completely or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with whole_file(path, 'expected a place to write an image to') as partial:
        figure.savefig(partial, format='png')
