import pytest
from mmengine.config import Config
from torch import nn

from mmconvnext.errors import UserError
from mmconvnext.inference.classes import (
    count_classes,
    dataset_meta,
    find_classes,
    zero_is_reduced,
)

ADE20K = dict(default_scope='mmseg', test_dataloader=dict(dataset=dict(type='ADE20KDataset')))
COCO = dict(
    default_scope='mmdet',
    test_dataloader=dict(
        dataset=dict(type='RepeatDataset', times=2, dataset=dict(type='CocoDataset'))
    ),
)
OWN = dict(
    default_scope='mmseg',
    test_dataloader=dict(
        dataset=dict(type='BaseSegDataset', metainfo=dict(classes=('cat', 'dog')))
    ),
)


class Head(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes


def model(**heads: int | list[int]) -> nn.Module:
    whole = nn.Module()
    for name, number in heads.items():
        head = nn.ModuleList(map(Head, number)) if isinstance(number, list) else Head(number)
        whole.add_module(name, head)
    return whole


def test_the_checkpoint_s_own_classes_come_first() -> None:
    meta = {'classes': ['a', 'b'], 'palette': [[1, 2, 3], [4, 5, 6]]}
    classes = find_classes(Config(OWN), meta, model(decode_head=2), 'x.pth')
    assert classes.names == ('a', 'b')
    assert classes.colours == ((1, 2, 3), (4, 5, 6))
    assert classes.source == 'x.pth'


def test_then_the_config_s_dataset_s_and_then_numbers() -> None:
    classes = find_classes(Config(OWN), {}, model(decode_head=2), 'x.pth')
    assert classes.names == ('cat', 'dog')
    assert len(set(classes.colours)) == 2, 'colours of their own, without a palette'
    classes = find_classes(Config(ADE20K), {}, model(decode_head=150), 'x.pth')
    assert classes.names[:2] == ('wall', 'building')
    assert classes.colours[0] == (120, 120, 120)
    nothing = Config(dict(default_scope='mmseg'))
    classes = find_classes(nothing, {}, model(decode_head=3), 'x.pth')
    assert classes.names == ('0', '1', '2')
    assert len(set(classes.colours)) == 3
    with pytest.raises(UserError, match='or a head with num_classes; found none'):
        find_classes(nothing, {}, model(), 'x.pth')


@pytest.mark.parametrize('palette', ['random', None, [[1, 2, 3]]])
def test_a_palette_that_is_none_or_too_short_is_filled_up(palette) -> None:
    meta = {'classes': [f'class {i}' for i in range(40)], 'palette': palette}
    classes = find_classes(Config(OWN), meta, model(), 'x.pth')
    assert len(set(classes.colours)) == 40


def test_another_number_of_classes_than_the_heads_is_refused() -> None:
    cascade = model(bbox_head=[4, 4, 2], mask_head=4)
    with pytest.raises(UserError) as error:
        find_classes(Config(OWN), {'classes': list('abcd')}, cascade, 'x.pth')
    assert 'bbox_head.0 4, bbox_head.1 4, bbox_head.2 2' in str(error.value)
    assert 'got 4 from x.pth (a, b, c, …)' in str(error.value)
    with pytest.raises(UserError, match="got 2 from the config's dataset"):
        find_classes(Config(OWN), {}, model(decode_head=3), 'x.pth')


def test_auxiliary_and_proposal_heads_do_not_count(detector) -> None:
    assert count_classes(model(decode_head=2, auxiliary_head=9, rpn_head=1)) == {'decode_head': 2}
    assert count_classes(detector.model) == {'roi_head.bbox_head': 4, 'roi_head.mask_head': 4}


def test_dataset_meta_looks_through_wrappers_and_into_the_class() -> None:
    assert dataset_meta(Config(COCO))['classes'][0] == 'person'
    assert dataset_meta(Config({})) == {}


def test_whether_zero_is_reduced_is_the_dataset_s_word_or_its_class_s() -> None:
    assert zero_is_reduced(Config(ADE20K))
    assert not zero_is_reduced(Config(OWN))
    config = Config(ADE20K)
    config.test_dataloader.dataset.reduce_zero_label = False
    assert not zero_is_reduced(config)
