"""The comparison as tables for a terminal; each column names its source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple

from rich.table import Table

from mmconvnext.studies.comparison.cost import Speed
from mmconvnext.studies.comparison.families import MODELS
from mmconvnext.studies.comparison.published import METRICS, SOURCES, PublishedResult, imagenet
from mmconvnext.studies.comparison.run import Row

NOTHING = '–'  # not published, or not measured


def comparison_table(rows: Sequence[Row], images: Mapping[str, str]) -> Table:
    """Return one row per backbone in one model: published, counted here, measured here.

    ``images`` is the measured batch by mode, such as ``2 × 512²``.
    """
    model = rows[0].model
    height, width = MODELS[model].counted
    metrics = METRICS[model]
    on_a100 = any(row.published and row.published.speed for row in rows)
    headers = [f'published\n{" / ".join(metrics)}, %', 'published\nM / GFLOPs']
    headers += ['published\nA100\nimages/s'] if on_a100 else []
    headers.append(f'counted here\nM / GMACs\nat {width} × {height}')
    for mode in images:
        headers += [f'measured here\n{mode}\n{unit}' for unit in ('images/s', 'peak MiB')]
    title = f'{MODELS[model].title}: the same head, another backbone'
    table = _empty(title, ['backbone', 'published\nby: trained with'], headers)
    for place, row in enumerate(rows):
        if place and row.backbone.size != rows[place - 1].backbone.size:
            table.add_section()
        cells = _published(row.published, metrics)[: None if on_a100 else -1]
        cells.append(f'{row.counted.parameters / 1e6:.2f} / {row.counted.macs / 1e9:,.1f}')
        for mode in images:
            cells += _measured(row.measured.get(mode))
        table.add_row(row.backbone.label, *cells)
    table.caption = _sources(row.published for row in rows)
    if any(row.published and '640²' in row.published.setting for row in rows):
        table.caption += '\nPublished GFLOPs of 640² rows are at 2560 × 640'
    if images:
        words = ', '.join(f'{mode} {images[mode]}' for mode in images)
        table.caption += f'\nMeasured: {words}; medians and quartiles; memory without the model'
    return table


def imagenet_table(labels: Iterable[str]) -> Table | None:
    """Return the published classification results of some backbones, or None."""
    published = imagenet()
    found = {label: published[label] for label in labels if label in published}
    if not found:
        return None
    title = 'ImageNet-1K, the classifiers at 224²: all published, nothing measured here'
    headers = ['top-1, 1K', 'top-1, 22K to 1K', 'M', 'GFLOPs', 'V100, images/s']
    headers.append('A100, images/s')
    table = _empty(title, ['backbone'], [f'published\n{header}' for header in headers])
    for label, one in found.items():
        values = [one.accuracy.get('1K'), one.accuracy.get('22K to 1K')]
        values += [one.parameters_m, one.gflops, one.speed.get('V100'), one.speed.get('A100')]
        table.add_row(label, *map(_number, values))
    table.caption = _sources(found.values())
    return table


def _empty(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return a table with headers for columns of text, and for columns of numbers."""
    table = Table(*texts, title=title, title_justify='left', caption_justify='left')
    table.caption_style = ''
    for header in numbers:
        table.add_column(header, justify='right')
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


def _measured(speed: Speed | None) -> list[str]:
    """Return median and quartiles of images per second, and the peak memory."""
    if speed is None:
        return [NOTHING, NOTHING]
    median, lower, upper = (
        f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'
        for value in astuple(speed.pictures_per_second)
    )
    memory = NOTHING if speed.peak_bytes is None else f'{speed.peak_bytes / 2**20:,.0f}'
    return [f'{median} [{lower}, {upper}]', memory]


def _number(value: float | None) -> str:
    return NOTHING if value is None else f'{value:,}'
