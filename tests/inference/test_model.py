import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmconvnext.errors import CheckpointError, UserError
from mmconvnext.inference.model import load_predictor, require_config_fits, usable_device
from tests.inference.conftest import DETECTION, SEGMENTATION, write_checkpoint


def test_a_segmentor_labels_every_pixel(segmentor) -> None:
    sample = segmentor.predict(np.zeros((50, 70, 3), np.uint8))
    assert segmentor.kind == 'segmentation'
    assert segmentor.first_id == 1, 'reduce_zero_label'
    assert sample.pred_sem_seg.data.shape == (1, 50, 70)


@pytest.mark.parametrize('shape', [(30, 40, 3), (2, 3, 3), (20, 1500, 3)])
def test_pictures_smaller_than_the_backbone_takes_are_padded(shape, segmentor, detector) -> None:
    image = np.zeros(shape, np.uint8)
    assert segmentor.predict(image).pred_sem_seg.data.shape[1:] == shape[:2]
    assert detector.predict(image).pred_instances.masks.shape[1:] == shape[:2]


def test_a_picture_at_which_the_model_fails_is_told(segmentor) -> None:
    with pytest.raises(UserError, match=r'image of 70 × 50 pixels and 4 channels'):
        segmentor.predict(np.zeros((50, 70, 4), np.uint8))


def test_a_config_of_another_model_does_not_fit(tmp_path) -> None:
    checkpoint = write_checkpoint(Config.fromfile(SEGMENTATION), tmp_path / 'a.pth')
    require_config_fits(Config.fromfile(SEGMENTATION), str(checkpoint))
    with pytest.raises(CheckpointError, match='does not fit'):
        require_config_fits(Config.fromfile(DETECTION), str(checkpoint))


def test_padding_changes_nothing_of_larger_pictures(segmentor) -> None:
    image = np.random.default_rng(0).integers(0, 255, (45, 70, 3), np.uint8)
    padded = segmentor.predict(image).pred_sem_seg.data
    options = segmentor.model.data_preprocessor.test_cfg
    segmentor.model.data_preprocessor.test_cfg = None
    plain = segmentor.predict(image).pred_sem_seg.data
    segmentor.model.data_preprocessor.test_cfg = options
    assert len(plain.unique()) > 1
    assert torch.equal(padded, plain)


def test_detections_above_a_threshold_are_those_of_all_that_are_above_it(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    found = []
    for threshold in (0.0, 0.6):
        config = Config.fromfile(DETECTION)
        path = write_checkpoint(config, tmp_path / 'a.pth')
        predictor = load_predictor(config, str(path), score_thr=threshold)
        found.append(predictor.predict(image).pred_instances)
    every, some = found
    assert 0 < len(some) < len(every)
    kept = every[every.scores >= 0.6]
    for name in ('bboxes', 'scores', 'labels', 'masks'):
        assert torch.equal(kept[name], some[name])


def test_classes_are_from_the_checkpoint_s_meta(tmp_path) -> None:
    config = Config.fromfile(SEGMENTATION)
    meta = {'dataset_meta': {'classes': list('abcdef'), 'palette': [[i, i, i] for i in range(6)]}}
    path = write_checkpoint(config, tmp_path / 'a.pth', meta)
    classes = load_predictor(config, str(path)).classes
    assert classes.names == tuple('abcdef')
    assert classes.colours[5] == (5, 5, 5)


def test_a_checkpoint_of_another_model_is_refused(tmp_path) -> None:
    config = Config.fromfile(SEGMENTATION)
    path = write_checkpoint(config, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth does not fit the model'):
        load_predictor(Config.fromfile(DETECTION), str(path))


def test_a_config_of_neither_kind_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"a segmentor \('mmseg'\) or a detector \('mmdet'\), got None"
    ):
        load_predictor(Config(dict(model={})), 'none.pth')


def test_devices_that_are_not_there_are_named() -> None:
    assert usable_device('cpu') == torch.device('cpu')
    for name in ('abacus', 'meta'):
        with pytest.raises(UserError, match=f'got {name} .*leave it out to use'):
            usable_device(name)
