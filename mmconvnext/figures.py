"""What all figures have in common: colours, sizes, and how they come to disk."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmconvnext.files import whole_file

# Of Okabe and Ito, which colour-blind people tell apart too, the darkest first.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
# A second sign, for more than there are colours and for prints in grey.
STYLES = ('-', '--', ':', '-.')
DOTS_PER_INCH = 150


def new_figure(
    width: float, height: float, dpi: int = DOTS_PER_INCH, layout: Any = 'constrained'
) -> Figure:
    """An empty figure, sides in inches, whose parts make room for each other."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def line_style(number: int) -> dict[str, Any]:
    """Colour and line style of the n-th of several things, different for the first 28."""
    return {
        'color': COLOURS[number % len(COLOURS)],
        'linestyle': STYLES[number // len(COLOURS) % len(STYLES)],
    }


def bare(axes: Axes, **grid: Any) -> None:
    """A light grid behind what is drawn, and no frame at the top and on the right."""
    axes.grid(**{'color': '0.92'} | grid)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        UserError: it cannot be written there.
    """
    with whole_file(path, 'expected a place to write an image to') as partial:
        figure.savefig(partial, format='png')
