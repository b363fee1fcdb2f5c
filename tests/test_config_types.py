import pytest
from mmcv.transforms import LoadImageFromFile

from mmconvnext.config_types import pipeline_steps, type_name, wrapped_datasets


@pytest.mark.parametrize('kind', ['LoadImageFromFile', 'mmcv.LoadImageFromFile', LoadImageFromFile])
def test_a_type_is_a_name_or_a_class(kind: object) -> None:
    assert type_name({'type': kind}) == 'LoadImageFromFile'
    assert type_name({}) == ''


def test_datasets_within_wrappers() -> None:
    first, second = {'type': 'A'}, {'type': 'B'}
    wrapped = {'datasets': [{'type': 'RepeatDataset', 'dataset': first}, second]}
    assert [*wrapped_datasets(wrapped)] == [first, second]
    assert [*wrapped_datasets(first)] == [first]


def test_steps_within_steps() -> None:
    load, flip, crop = ({'type': name} for name in ('Load', 'Flip', 'Crop'))
    choice = {'type': 'RandomChoice', 'transforms': [[flip], (crop,)]}
    broadcast = {'type': 'TransformBroadcaster', 'transforms': load}
    assert [*pipeline_steps([load, choice, broadcast])] == [
        *(load, choice, flip, crop, broadcast, load),
    ]
