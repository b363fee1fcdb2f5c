"""The roadmap as a table: counted, published, a person's own and timed, each in its own column."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.analysis.cost.complexity import Complexity
from mmconvnext.studies.roadmap.costs import CLASSES, SIZE, Timing
from mmconvnext.studies.roadmap.network import ROADMAP, Step
from mmconvnext.studies.roadmap.results import PUBLISHED, RIVALS, SOURCE, PublishedNetwork, Rival
from mmconvnext.studies.roadmap.runs import DataSet, OwnResult

# Where each regime starts and ends.
ENDS = {'resnet50': ('ResNet-50', 'ConvNeXt-T'), 'resnet200': ('ResNet-200', 'ConvNeXt-B')}
_MARKS = '¹²³⁴'


@dataclass(frozen=True)
class Row:
    """All that is known of a step in a regime."""

    step: Step
    counted: Complexity
    published: PublishedNetwork
    own: Mapping[DataSet, OwnResult]
    timing: Timing | None = None


class Way(NamedTuple):
    """The roadmap in one regime."""

    regime: str
    rows: Sequence[Row]
    rival: Rival
    timed: str = ''  # what the timings are of

    @property
    def title(self) -> str:
        return ' → '.join(ENDS[self.regime])

    def data_sets(self) -> list[DataSet]:
        """Those that a person's own accuracy was measured on."""
        return list(dict.fromkeys(data for row in self.rows for data in row.own))

    def notes(self) -> dict[str, str]:
        """What is wrong with a published figure, by the step's name."""
        return {row.step.name: row.published.note for row in self.rows if row.published.note}

    def as_json(self) -> dict:
        """Plain values; macs and parameters are counted, accuracies in percent."""
        return {
            'regime': self.regime,
            'title': self.title,
            'source_of_published': SOURCE,
            'timed': self.timed,
            'steps': [_row_as_json(row) for row in self.rows],
            'for_comparison': {'name': self.rival.name, 'published': _plain(self.rival.published)},
        }

    def render(self) -> RenderableType:
        """Table and sentences for a terminal."""
        marks = dict(zip(self.notes(), _MARKS))
        table = Table()
        table.add_column('step', no_wrap=True)
        for header in self._headers():
            table.add_column(header, justify='right')
        chapter = ''
        for row in self.rows:
            if row.step.chapter != chapter:
                chapter = row.step.chapter
                table.add_section()
                table.add_row(f'[bold]{chapter}[/]')
            table.add_row(f'  {label(row.step, self.regime)}', *self._cells(row, marks))
        table.add_section()
        cost = [_published_macs(self.rival.published), _accuracy(self.rival.published)]
        table.add_row(f'{self.rival.name}, for comparison', '–', '–', *cost)
        return Group(self.title, table, *self._sentences(marks))

    def _headers(self) -> list[str]:
        headers = ['counted:\nparams, M', 'counted:\nGMACs', 'published:\nGMACs']
        headers.append('published:\ntop-1, %')
        headers += [
            'yours: top-1, %,\n' + data.label.replace(', ', '\n') for data in self.data_sets()
        ]
        if self.timed:
            headers += ['measured:\ninference, ms', 'measured:\ntraining step, ms']
        return headers

    def _cells(self, row: Row, marks: Mapping[str, str]) -> list[str]:
        cells = [f'{row.counted.parameters / 1e6:.2f}', f'{row.counted.macs / 1e9:.3f}']
        mark = marks.get(row.step.name, ' ' if marks else '')
        cells += [_published_macs(row.published) + mark, _accuracy(row.published)]
        cells += [_own(row.own.get(data)) for data in self.data_sets()]
        if self.timed:
            timing = row.timing or Timing(None, None)
            cells += [milliseconds(timing.inference), milliseconds(timing.training)]
        return cells

    def _sentences(self, marks: Mapping[str, str]) -> list[str]:
        notes = self.notes()
        lines = [
            f'Counted: classifier of {CLASSES:,} classes at {SIZE}², multiply-accumulates of '
            'convolutions and linear layers, which the paper calls FLOPs.',
            f'Published: ImageNet-1K, {SOURCE}; not reproduced here.',
            *(f'{mark} {_sentence(notes[name])}' for name, mark in marks.items()),
        ]
        if self.data_sets():
            folders = '; '.join(f'{data.label}: {data.folder}' for data in self.data_sets())
            lines.append(
                f'Yours: the last evaluation of each work dir, on {folders}. Only on ImageNet-1K '
                'it compares with the published.'
            )
        if self.timed:
            lines.append(f'Measured: {self.timed}.')
        return lines


def make_way(
    regime: str,
    steps: Sequence[Step],
    counted: Mapping[str, Complexity],
    own: Mapping[tuple[str, str], Mapping[DataSet, OwnResult]] | None = None,
    timings: Mapping[str, Timing] | None = None,
    timed: str = '',
) -> Way:
    """Bring together what is known of some steps.

    Args:
        regime: One of the two.
        steps: In the order of the roadmap.
        counted: By the step's name.
        own: Of :func:`~mmconvnext.studies.roadmap.runs.own_results`.
        timings: By the step's name.
        timed: What the timings are of, in words.
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
    """What a step is called in a regime; the ends have names of their own."""
    first, last = ENDS[regime]
    if step == ROADMAP[0]:
        return first
    if step == ROADMAP[-1]:
        return f'{step.title} = {last}'
    return step.title if step.kept else f'{step.title} (not kept)'


def milliseconds(spread: Spread | None) -> str:
    """Median and quartiles, three digits each."""
    if spread is None:
        return '–'
    median, lower, upper = (
        f'{1e3 * one:,.0f}' if one >= 0.1 else f'{1e3 * one:#.3g}'
        for one in dataclasses.astuple(spread)
    )
    return f'{median} \\[{lower}, {upper}]'


def _published_macs(published: PublishedNetwork) -> str:
    return f'{published.gflops:.2f}'


def _accuracy(published: PublishedNetwork) -> str:
    spread = '' if published.deviation is None else f' ± {published.deviation:.2f}'
    return f'{published.top1:.2f}{spread}'


def _own(result: OwnResult | None) -> str:
    if result is None:
        return '–'
    if result.deviation is None:
        return f'{result.top1:.2f}{f" ({result.unfinished})" if result.unfinished else ""}'
    runs = ', '.join(filter(None, [f'{result.runs} work dirs', result.unfinished]))
    return f'{result.top1:.2f} ± {result.deviation:.2f} ({runs})'


def _sentence(text: str) -> str:
    return f'{text[0].upper()}{text[1:]}.'


def _plain(published: PublishedNetwork) -> dict:
    return {'top1': published.top1, 'deviation': published.deviation, 'gflops': published.gflops}


def _row_as_json(row: Row) -> dict:
    step = row.step
    own = [{**data._asdict(), **result._asdict()} for data, result in row.own.items()]
    measured = row.timing and {
        f'{name}_seconds': dataclasses.asdict(spread)
        for name, spread in row.timing._asdict().items()
    }
    return {
        **{key: getattr(step, key) for key in ('name', 'title', 'chapter', 'change', 'kept')},
        'counted': row.counted._asdict(),
        'published': {**_plain(row.published), 'note': row.published.note},
        'own': own,
        'measured': measured,
    }
