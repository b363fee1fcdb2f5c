import pytest
from mmcv.transforms import LoadImageFromFile

from mmconvnext.config_types import type_name


@pytest.mark.parametrize('kind', ['LoadImageFromFile', 'mmcv.LoadImageFromFile', LoadImageFromFile])
def test_a_type_is_a_name_or_a_class(kind: object) -> None:
    assert type_name({'type': kind}) == 'LoadImageFromFile'
    assert type_name({}) == ''
