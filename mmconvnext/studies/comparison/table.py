"""The comparison as tables for a terminal; each column says whose numbers it has."""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from mmconvnext.analysis.benchmark.timing import Spread
from mmconvnext.studies.comparison.families import MODELS
from mmconvnext.studies.comparison.published import METRICS, SOURCES, PublishedResult, imagenet
from mmconvnext.studies.comparison.row import Row

NOTHING = '–'  # not published, or not measured


def comparison_table(rows: Sequence[Row], pictures: Mapping[str, str]) -> Table:
    """One row for each backbone in one model: published, counted here, measured here.

    Args:
        rows: Of one model.
        pictures: What was measured, such as ``2 × 512²``, by mode.
    """
    model = rows[0].model
    height, width = MODELS[model].counted
    table = _titled(f'{MODELS[model].title}: the same head, another backbone')
    table.add_column('backbone')
    metrics = METRICS[model]
    table.add_column('published\nby: trained with')
    headers = [f'published\n{" / ".join(metrics)}, %', 'published\nM / GFLOPs']
    on_a100 = any(row.published and row.published.speed for row in rows)
    headers += ['published\nA100\npictures/s'] if on_a100 else []
    for header in (*headers, f'counted here\nM / GMACs\nat {width} × {height}'):
        table.add_column(header, justify='right')
    for mode in pictures:
        for unit in ('pictures/s', 'peak MiB'):
            table.add_column(f'measured here\n{mode}\n{unit}', justify='right')
    for place, row in enumerate(rows):
        if place and row.backbone.size != rows[place - 1].backbone.size:
            table.add_section()
        published = _published(row.published, metrics)[: None if on_a100 else -1]
        table.add_row(row.backbone.label, *published, _counted(row),
                      *(cell for mode in pictures for cell in _measured(row, mode)))  # fmt: skip
    table.caption = _sources(row.published for row in rows)
    if any(row.published and '640²' in row.published.setting for row in rows):
        table.caption += '\nPublished GFLOPs of 640² rows are at 2560 × 640'
    if pictures:
        words = ', '.join(f'{mode} {pictures[mode]}' for mode in pictures)
        table.caption += f'\nMeasured: {words}; medians and quartiles; memory beyond the model'
    return table


def imagenet_table(labels: Iterable[str]) -> Table | None:
    """The published classification results of some backbones; None where there are none."""
    published = imagenet()
    found = {label: published[label] for label in labels if label in published}
    if not found:
        return None
    table = _titled('ImageNet-1K, the classifiers at 224²: all published, nothing measured here')
    table.add_column('backbone')
    headers = ('top-1, 1K', 'top-1, 22K to 1K', 'M', 'GFLOPs', 'V100, pictures/s')
    for header in (*headers, 'A100, pictures/s'):
        table.add_column(f'published\n{header}', justify='right')
    for label, one in found.items():
        values = [one.accuracy.get('1K'), one.accuracy.get('22K to 1K')]
        values += [one.parameters_m, one.gflops, one.speed.get('V100'), one.speed.get('A100')]
        table.add_row(label, *map(_number, values))
    table.caption = _sources(found.values())
    return table


def _titled(title: str) -> Table:
    table = Table(title=title, title_justify='left', caption_justify='left')
    table.caption_style = ''
    return table


def _sources(rows: Iterable[PublishedResult | None]) -> str:
    used = sorted({one.source for one in rows if one})
    return '\n'.join(f'({number}) {SOURCES[number]}' for number in used)


def _published(one: PublishedResult | None, metrics: Sequence[str]) -> list[str]:
    if one is None:
        return [NOTHING] * 4
    return [
        f'({one.source}) {one.setting}',
        ' / '.join(_number(one.accuracy.get(name)) for name in metrics),
        f'{_number(one.parameters_m)} / {_number(one.gflops)}',
        _number(one.speed.get('A100')),
    ]


def _counted(row: Row) -> str:
    return f'{row.counted.parameters / 1e6:.2f} / {row.counted.macs / 1e9:,.1f}'


def _measured(row: Row, mode: str) -> list[str]:
    speed = row.measured.get(mode)
    if speed is None:
        return [NOTHING, NOTHING]
    memory = NOTHING if speed.peak_bytes is None else f'{speed.peak_bytes / 2**20:,.0f}'
    return [_spread(speed.pictures_per_second), memory]


def _spread(spread: Spread) -> str:
    """Median and quartiles."""
    median, lower, upper = (
        f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'
        for value in (spread.median, spread.lower, spread.upper)
    )
    return f'{median} [{lower}, {upper}]'


def _number(value: float | None) -> str:
    return NOTHING if value is None else f'{value:,}'
