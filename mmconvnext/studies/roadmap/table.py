"""The roadmap as a table, with columns for counted, published, the user's and timed values."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from mmconvnext.analysis.cost.complexity import Complexity
from mmconvnext.studies.roadmap.costs import CLASSES, SIZE, Timing
from mmconvnext.studies.roadmap.results import PUBLISHED, RIVALS, SOURCE, PublishedNetwork, Rival
from mmconvnext.studies.roadmap.runs import DataSet, OwnResult, OwnResults
from mmconvnext.studies.roadmap.steps import ROADMAP, Step

# Where each regime starts and ends.
ENDS = {'resnet50': ('ResNet-50', 'ConvNeXt-T'), 'resnet200': ('ResNet-200', 'ConvNeXt-B')}
_MARKS = '¹²³⁴'
_TOLD = ('name', 'title', 'chapter', 'change', 'kept')  # of a step, in JSON


@dataclass(frozen=True)
class Row:
    """All values of a step in a regime."""

    step: Step
    counted: Complexity
    published: PublishedNetwork
    own: Mapping[DataSet, OwnResult]
    timing: Timing | None = None

    def as_json(self) -> dict[str, Any]:
        step = {key: getattr(self.step, key) for key in _TOLD}
        spreads = self.timing._asdict() if self.timing else {}
        seconds = {f'{mode}_seconds': dataclasses.asdict(one) for mode, one in spreads.items()}
        return {
            **step,
            'counted': self.counted._asdict(),
            'published': {**_plain(self.published), 'note': self.published.note},
            'own': [{**data._asdict(), **result._asdict()} for data, result in self.own.items()],
            'measured': seconds or None,
        }


class Way(NamedTuple):
    """The roadmap in one regime."""

    regime: str
    rows: Sequence[Row]
    rival: Rival
    timed: str = ''  # description of the timings

    @property
    def title(self) -> str:
        return ' → '.join(ENDS[self.regime])

    def data_sets(self) -> list[DataSet]:
        """Return the datasets on which the user's accuracy was measured."""
        return list(dict.fromkeys(data for row in self.rows for data in row.own))

    def notes(self) -> dict[str, str]:
        """Return contradictions in published figures, by the step's name."""
        return {row.step.name: row.published.note for row in self.rows if row.published.note}

    def as_json(self) -> dict[str, Any]:
        """Return plain values; macs and parameters are counted, accuracies are in percent."""
        return {
            'regime': self.regime,
            'title': self.title,
            'source_of_published': SOURCE,
            'timed': self.timed,
            'steps': [row.as_json() for row in self.rows],
            'for_comparison': {'name': self.rival.name, 'published': _plain(self.rival.published)},
        }

    def render(self) -> RenderableType:
        """Return a table and explanations for a terminal."""
        marks = dict(zip(self.notes(), _MARKS))
        columns = self._columns(marks)
        table = Table()
        table.add_column('step', no_wrap=True)
        for header, _ in columns:
            table.add_column(header, justify='right')
        chapter = ''
        for row in self.rows:
            if row.step.chapter != chapter:
                chapter = row.step.chapter
                table.add_section()
                table.add_row(f'[bold]{chapter}[/]')
            cells = [cell(row) for _, cell in columns]
            table.add_row(f'  {label(row.step, self.regime)}', *cells)
        table.add_section()
        rival = self.rival.published
        cells = ['–', '–', f'{rival.gflops:.2f}', _accuracy(rival)]
        table.add_row(f'{self.rival.name}, for comparison', *cells)
        return Group(self.title, table, *self._sentences())

    def _columns(self, marks: Mapping[str, str]) -> list[tuple[str, Callable[[Row], str]]]:
        """Return each column's header, and a function for a row's cell."""
        no_mark = ' ' if marks else ''

        def published_macs(row: Row) -> str:
            return f'{row.published.gflops:.2f}{marks.get(row.step.name, no_mark)}'

        columns: list[tuple[str, Callable[[Row], str]]] = [
            ('counted:\nparams, M', lambda row: f'{row.counted.parameters / 1e6:.2f}'),
            ('counted:\nGMACs', lambda row: f'{row.counted.macs / 1e9:.3f}'),
            ('published:\nGMACs', published_macs),
            ('published:\ntop-1, %', lambda row: _accuracy(row.published)),
        ]
        for data in self.data_sets():
            header = 'yours: top-1, %,\n' + data.label.replace(', ', '\n')
            columns.append((header, partial(_own, data=data)))
        if self.timed:
            columns.append(('measured:\ninference, ms', partial(_spread, mode=0)))
            columns.append(('measured:\ntraining step, ms', partial(_spread, mode=1)))
        return columns

    def _sentences(self) -> list[str]:
        notes = self.notes().values()
        lines = [
            f'Counted: classifier of {CLASSES:,} classes at {SIZE}², multiply-accumulates of '
            'convolutions and linear layers, which the paper calls FLOPs.',
            f'Published: ImageNet-1K, {SOURCE}; not reproduced here.',
            *(f'{mark} {note[0].upper()}{note[1:]}.' for mark, note in zip(_MARKS, notes)),
        ]
        if self.data_sets():
            folders = '; '.join(f'{data.label}: {data.folder}' for data in self.data_sets())
            lines.append(
                f'Yours: the last evaluation of each work dir, on {folders}. It is comparable to '
                'published values only on ImageNet-1K.'
            )
        if self.timed:
            lines.append(f'Measured: {self.timed}.')
        return lines


def make_way(
    regime: str,
    steps: Sequence[Step],
    counted: Mapping[str, Complexity],
    own: OwnResults | None = None,
    timings: Mapping[str, Timing] | None = None,
    timed: str = '',
) -> Way:
    """Combine all values of some steps, in the order of the roadmap.

    ``counted`` and ``timings`` are by the step's name; ``timed`` describes the timings.
    """
    own, timings = own or {}, timings or {}
    rows = [
        Row(
            step,
            counted[step.name],
            PUBLISHED[regime][step.name],
            own.get((regime, step.name), {}),
            timings.get(step.name),
        )
        for step in steps
    ]
    return Way(regime, rows, RIVALS[regime], timed)


def label(step: Step, regime: str) -> str:
    """Return the name of a step in a regime; first and last step have special names."""
    first, last = ENDS[regime]
    if step == ROADMAP[0]:
        return first
    if step == ROADMAP[-1]:
        return f'{step.title} = {last}'
    return step.title if step.kept else f'{step.title} (not kept)'


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three digits, or as an integer if larger."""
    return f'{1e3 * seconds:,.0f}' if seconds >= 0.1 else f'{1e3 * seconds:#.3g}'


def _spread(row: Row, mode: int) -> str:
    """Return median and quartiles."""
    if row.timing is None:
        return '–'
    median, lower, upper = map(milliseconds, dataclasses.astuple(row.timing[mode]))
    return f'{median} \\[{lower}, {upper}]'


def _accuracy(published: PublishedNetwork) -> str:
    spread = '' if published.deviation is None else f' ± {published.deviation:.2f}'
    return f'{published.top1:.2f}{spread}'


def _own(row: Row, data: DataSet) -> str:
    result = row.own.get(data)
    if result is None:
        return '–'
    if result.deviation is None:
        return f'{result.top1:.2f}{f" ({result.unfinished})" if result.unfinished else ""}'
    runs = ', '.join(filter(None, [f'{result.runs} work dirs', result.unfinished]))
    return f'{result.top1:.2f} ± {result.deviation:.2f} ({runs})'


def _plain(published: PublishedNetwork) -> dict[str, float | None]:
    return {'top1': published.top1, 'deviation': published.deviation, 'gflops': published.gflops}
