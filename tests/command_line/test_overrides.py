from mmengine.config import Config

from mmconvnext.command_line.overrides import override
from tests.conftest import CONFIGS

SPLITS = ('train', 'val', 'test')


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_datasets_and_evaluators_follow_data_root() -> None:
    config = load('mask_rcnn_convnext_t_coco')
    override(config, {'data_root': '/else', 'val_dataloader.dataset.ann_file': 'mine.json'})
    assert {config[f'{split}_dataloader'].dataset.data_root for split in SPLITS} == {'/else'}
    assert config.val_evaluator.ann_file == '/else/mine.json'
    assert config.test_evaluator.ann_file == '/else/annotations/instances_val2017.json'


def test_one_dataset_goes_its_own_way() -> None:
    config = load('mask_rcnn_convnext_t_coco')
    override(config, {'data_root': '/else', 'test_dataloader.dataset.data_root': '/third'})
    assert config.val_dataloader.dataset.data_root == '/else'
    assert config.test_dataloader.dataset.data_root == '/third'
    assert config.test_evaluator.ann_file == '/third/annotations/instances_val2017.json'


def test_what_is_said_of_the_evaluator_itself_stays() -> None:
    config = load('mask_rcnn_convnext_t_coco')
    override(config, {'data_root': '/else', 'val_evaluator.ann_file': '/mine.json'})
    assert config.val_evaluator.ann_file == '/mine.json'
    config = load('mask_rcnn_convnext_t_coco')
    config.test_evaluator.ann_file = '/other.json'
    override(config, {'data_root': '/else'})
    assert config.test_evaluator.ann_file == '/other.json'


def test_segmentation_has_no_annotation_file() -> None:
    config = load('upernet_convnext_t_ade20k')
    override(config, {'data_root': '/else'})
    assert {config[f'{split}_dataloader'].dataset.data_root for split in SPLITS} == {'/else'}
    assert 'ann_file' not in config.val_evaluator
    override(Config(dict(model={})), {'model.a': 1})
