import re

from rich.console import Console

from mmconvnext.studies.comparison.run import Row
from mmconvnext.studies.comparison.table import comparison_table, imagenet_table

PICTURES = {'inference': '1 × 512²'}


def text_of(table: object) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        console.print(table, highlight=False)
    return captured.get()


def test_each_column_says_whose_numbers_it_has(rows: list[Row]) -> None:
    table = comparison_table(rows, PICTURES)
    groups = [str(column.header).split('\n')[0] for column in table.columns[1:]]
    assert groups == ['published'] * 3 + ['counted here'] + ['measured here'] * 2
    text = text_of(table)
    assert re.search(r'Swin-T +│ \(2\) 1K.*│ +45\.81 / 44\.51 │ +60 / 945 │', text)
    assert re.search(r'ResNet-152 +│ – +│ +– │ +– │ 60\.00 / [\d,.]+ │ 0\.500 \[', text)
    assert re.search(r'ConvNeXt-L .* – │ +– │\n', text), 'not measured'
    assert "(2) Swin's authors" in text
    assert 'Measured: inference 1 × 512²' in text


def test_imagenet_s_table_is_all_published() -> None:
    table = imagenet_table(['ConvNeXt-T', 'ResNet-101', 'Swin-L'])
    assert {str(column.header).split('\n')[0] for column in table.columns[1:]} == {'published'}
    text = text_of(table)
    assert re.search(r'ConvNeXt-T .* 82\.1 .* 1,943\.5', text)
    assert re.search(r'Swin-L +│ +– │ +86\.3 │', text)
    assert 'ResNet-101' not in text
    assert imagenet_table(['ResNet-101']) is None
