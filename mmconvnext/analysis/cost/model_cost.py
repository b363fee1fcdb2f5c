"""Costs of a config's model: parameters, MACs and memory, with the published figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Group, RenderableType
from rich.table import Table

from mmconvnext.analysis.cost.activation_memory import COUNTED, KeptMemory, count_kept_memory
from mmconvnext.analysis.cost.complexity import MASKS, PROPOSALS, Complexity, build_on_meta
from mmconvnext.analysis.cost.input_shape import counted_shape, training_shape
from mmconvnext.analysis.cost.parts import count_parts
from mmconvnext.analysis.metafile import Record, read_record
from mmconvnext.errors import UserError, first_line


@dataclass(frozen=True)
class ModelCost:
    """Costs of one forward pass of one image, and of one training step."""

    name: str
    height: int  # of the image, in pixels
    width: int
    parts: dict[str, Complexity]
    memory: KeptMemory | None
    memory_problem: str  # the reason why memory was not counted
    published: Record | None  # its GMACs are for the published size only

    @property
    def total(self) -> Complexity:
        return Complexity(*(sum(values) for values in zip(*self.parts.values())))

    def as_json(self) -> dict[str, Any]:
        """Plain values; `gmacs` and `params_m` in billions and millions, memory in bytes."""
        memory = self.memory and {**self.memory._asdict(), 'counted': COUNTED}
        return {
            'config': self.name,
            'height': self.height,
            'width': self.width,
            **_readable(self.total),
            'macs': self.total.macs,
            'parameters': self.total.parameters,
            'parts': {name: _readable(cost) for name, cost in self.parts.items()},
            'kept_for_backward_bytes': memory or {'problem': self.memory_problem},
            'published': self.published and self.published._asdict(),
        }

    def render(self) -> RenderableType:
        """Return a table and explanations for a terminal."""
        title = f'{self.name}, one image of {self.height} × {self.width} (height × width)'
        table = Table('part')
        for header in ('parameters, M', '', 'GMACs', ''):
            table.add_column(header, justify='right')
        for name, cost in self.parts.items():
            table.add_row(name, *_cells(cost, self.total))
        table.add_section()
        table.add_row('total', *_cells(self.total, self.total), style='bold')
        figures = self.published and (self.published.parameters_m, self.published.gmacs)
        if figures and any(figures):
            parameters, gmacs = ('–' if one is None else f'{one:,}' for one in figures)
            table.add_row('published', parameters, '', gmacs, '')
        return Group(title, table, *self._sentences())

    def _sentences(self) -> list[str]:
        lines = [
            'MACs: multiply-accumulates of convolutions and linear layers, which the papers call '
            'FLOPs; in one test, in which auxiliary heads do not run, box heads get '
            f'{PROPOSALS} proposals and mask heads {MASKS}.'
        ]
        if self.published and self.published.results:
            results = ', '.join(f'{name} {value}' for name, value in self.published.results.items())
            lines.append(f'Published: {results} ({self.published.source}).')
        if self.memory is None:
            return [*lines, f'Kept for the backward pass: not counted ({self.memory_problem}).']
        of = self.memory
        plain = '' if of.plain == of.fast else f', with fast=False {of.plain / 2**20:,.0f} MiB'
        lines.append(
            f'Kept for the backward pass of {of.batch_size} × {of.height} × {of.width}: '
            f'{of.fast / 2**20:,.0f} MiB{plain}. Counted: {COUNTED}'
        )
        return lines


def analyse(config: Config, path: str | Path, shape: tuple[int, int] | None = None) -> ModelCost:
    """Count all costs of a config's model, without computing and without reading weights.

    ``path`` is the config file, in whose folder the published figures are looked up; ``shape`` is
    height and width in pixels, or None for the papers' size. Raises UserError if the model cannot
    be built or run at that size, or the config has no size.
    """
    height, width = shape or counted_shape(config)
    model = build_on_meta(config)
    try:
        parts = count_parts(model, height, width)
    except Exception as error:
        raise UserError(
            f'{path}: expected a segmentor, detector or classifier that runs without data at '
            f'{height} × {width}, got {type(error).__name__} ({first_line(error)}); set another '
            'size with --shape HEIGHT WIDTH'
        ) from error
    memory, problem = None, ''
    try:
        memory = count_kept_memory(config, *training_shape(config))
    except UserError as error:
        problem = str(error)
    published = read_record(path)
    if published and shape and tuple(shape) != counted_shape(config):
        published = published._replace(gmacs=None)
    return ModelCost(Path(path).stem, height, width, parts, memory, problem, published)


def _readable(cost: Complexity) -> dict[str, float]:
    return {'gmacs': cost.macs / 1e9, 'params_m': cost.parameters / 1e6}


def _cells(cost: Complexity, total: Complexity) -> list[str]:
    digits = 1 if total.macs > 1e11 else 3
    return [
        f'{cost.parameters / 1e6:.2f}',
        f'{cost.parameters / max(total.parameters, 1):.0%}',
        f'{cost.macs / 1e9:,.{digits}f}',
        f'{cost.macs / max(total.macs, 1):.0%}',
    ]
