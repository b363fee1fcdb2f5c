"""Build a predictor from a config and a checkpoint."""

import warnings
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmconvnext.checkpoints.load import compare_whole
from mmconvnext.checkpoints.meta import described, find_meta
from mmconvnext.checkpoints.read import find_tested, read_checkpoint
from mmconvnext.command_line.hardware import fit_to_hardware
from mmconvnext.config_types import type_name
from mmconvnext.drawing.classes import Classes
from mmconvnext.errors import UserError, first_line
from mmconvnext.inference.classes import find_classes, zero_is_reduced
from mmconvnext.inference.pipeline import Pipeline
from mmconvnext.runner.building import building

_SMALLEST = 32  # pixels a side, reduced to one by the backbone's strides
_KINDS = {'mmseg': 'segmentation', 'mmdet': 'detection'}


class Predictor(NamedTuple):
    """A model with its classes and its test pipeline."""

    model: BaseModel
    pipeline: Pipeline
    classes: Classes
    kind: str  # 'segmentation' or 'detection'
    first_id: int  # id of the first class in the dataset's label maps

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> BaseDataElement:
        """Return an image's data sample, with predictions in the pixels of the image.

        ``image`` is (H, W, C) as loaded by the pipeline, or a video frame, (H, W, 3) uint8 BGR.

        Raises:
            UserError: the pipeline or the model fails on this image: it is too narrow, too large
            for
                the memory, or has another number of channels.
        """
        batch = self.pipeline.prepare(image)
        try:
            return self.model.test_step(batch)[0]
        except (RuntimeError, ValueError, MemoryError, cv2.error) as error:
            height, width, *channels = image.shape
            raise UserError(
                f'the model fails on an image of {width} × {height} pixels and '
                f'{channels[0] if channels else 1} channels ({first_line(error)})'
            ) from error


def load_predictor(
    config: Config, checkpoint: str, device: str | None = None, score_thr: float = 0.0
) -> Predictor:
    """Build the config's model and load a checkpoint's weights strictly.

    The config, of a segmentor or detector, is adapted to the machine in place; the checkpoint is a
    file, URL or hf:// address. The detector makes no masks for detections below ``score_thr``,
    which saves much memory for large images and does not change the other detections.

    Raises:
        UserError: the device does not exist, the checkpoint does not fit, the classes disagree, or
            the config is not that of a segmentor or detector.
    """
    scope = config.get('default_scope')
    if scope not in _KINDS:
        raise UserError(
            f"default_scope: expected a config of a segmentor ('mmseg') or a detector ('mmdet'), "
            f'got {scope!r}; classifiers are evaluated by tools/test.py'
        )
    place = usable_device(device)
    _spare_low_scores(config.model, score_thr)
    _pad_tiny_images(config.model)
    fit_to_hardware(config)
    content = read_checkpoint(checkpoint)
    with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        # Warnings of mmseg's losses, which are not used here.
        warnings.filterwarnings('ignore', '``build_loss``|Default ``avg_non_ignore``')
        with building('model'):
            model = MODELS.build(config.model)
    load_strictly(model, content, checkpoint)
    classes = find_classes(config, described(find_meta(content)), model, checkpoint)
    first_id = int(_KINDS[scope] == 'segmentation' and zero_is_reduced(config))
    model = model.to(place).eval()
    with building('test_dataloader'):
        pipeline = Pipeline(config)
    return Predictor(model, pipeline, classes, _KINDS[scope], first_id)


def _spare_low_scores(model: ConfigDict, score_thr: float) -> None:
    """Raise the score threshold before suppression; lower scores never suppress higher ones."""
    test_cfg = model.get('test_cfg') or {}
    for options in (test_cfg, test_cfg.get('rcnn') or {}):
        if 'score_thr' in options:
            just_below = float(np.nextafter(np.float32(score_thr), np.float32(-1)))
            options['score_thr'] = max(options['score_thr'], just_below)


def _pad_tiny_images(model: ConfigDict) -> None:
    """Let mmseg's preprocessor pad images that are too small for the backbone, like mmdet's."""
    preprocessor = model.get('data_preprocessor') or {}
    if type_name(preprocessor) == 'SegDataPreProcessor':
        preprocessor.setdefault('test_cfg', dict(size=(_SMALLEST, _SMALLEST)))


def load_strictly(model: nn.Module, content: object, source: str) -> None:
    """Load a checkpoint like tools/test.py: strictly, or raise CheckpointError."""
    report = compare_whole(model, find_tested(content, source), source, called='the model')
    report.require_fit()
    model.load_state_dict(report.state)


def require_config_fits(config: Config, checkpoint: str) -> None:
    """Raise a CheckpointError unless a checkpoint's weights fit a config's model completely."""
    fit_to_hardware(config)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        load_strictly(MODELS.build(config.model), read_checkpoint(checkpoint), checkpoint)


def usable_device(name: str | None) -> torch.device:
    """Return the device of a name, or this machine's best; raise UserError if it is missing."""
    try:
        device = torch.device(name or get_device())
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        raise UserError(
            f'--device: expected a device of this machine, got {name} ({first_line(error)}); '
            f'leave it out to use {get_device()}'
        ) from error
    return device
