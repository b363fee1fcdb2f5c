"""A config and a checkpoint made a model that is ready for images."""

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

_SMALLEST = 32  # pixels a side, which the backbone's strides make one
_KINDS = {'mmseg': 'segmentation', 'mmdet': 'detection'}


class Predictor(NamedTuple):
    """A model with all that it takes to use it."""

    model: BaseModel
    pipeline: Pipeline
    classes: Classes
    kind: str  # 'segmentation' or 'detection'
    first_id: int  # of the first class in the dataset's label maps

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> BaseDataElement:
        """The data sample of an image, with its predictions in the pixels of the image.

        ``image`` is (H, W, C) as the pipeline loads it, or a frame, (H, W, 3) uint8 BGR.

        Raises:
            UserError: the pipeline or the model fails at this image: too narrow, too large for
                the memory, or of another number of channels.
        """
        batch = self.pipeline.prepare(image)
        try:
            return self.model.test_step(batch)[0]
        except (RuntimeError, ValueError, MemoryError, cv2.error) as error:
            height, width, *channels = image.shape
            raise UserError(
                f'the model fails at an image of {width} × {height} pixels and '
                f'{channels[0] if channels else 1} channels ({first_line(error)})'
            ) from error


def load_predictor(
    config: Config, checkpoint: str, device: str | None = None, score_thr: float = 0.0
) -> Predictor:
    """Build the config's model with a checkpoint's weights, all of which have to fit.

    The config, of a segmentor or detector, is changed where the machine asks for it; the checkpoint
    is a file, URL or hf:// address. Of detections below ``score_thr`` the detector makes no masks,
    which of a large image take a lot of memory; those left are the same.

    Raises:
        UserError: the device is not there, the checkpoint does not fit, the classes disagree, or
            the config is none that this is for.
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
        # Of mmseg's losses, which nothing here computes.
        warnings.filterwarnings('ignore', '``build_loss``|Default ``avg_non_ignore``')
        model = MODELS.build(config.model)
    load_strictly(model, content, checkpoint)
    classes = find_classes(config, described(find_meta(content)), model, checkpoint)
    first_id = int(_KINDS[scope] == 'segmentation' and zero_is_reduced(config))
    model = model.to(place).eval()
    return Predictor(model, Pipeline(config), classes, _KINDS[scope], first_id)


def _spare_low_scores(model: ConfigDict, score_thr: float) -> None:
    """Raise the threshold before suppression: a lower score suppresses no higher one."""
    test_cfg = model.get('test_cfg') or {}
    for options in (test_cfg, test_cfg.get('rcnn') or {}):
        if 'score_thr' in options:
            just_below = float(np.nextafter(np.float32(score_thr), np.float32(-1)))
            options['score_thr'] = max(options['score_thr'], just_below)


def _pad_tiny_images(model: ConfigDict) -> None:
    """Let mmseg's preprocessor pad what is smaller than the backbone takes; mmdet's does."""
    preprocessor = model.get('data_preprocessor') or {}
    if type_name(preprocessor) == 'SegDataPreProcessor':
        preprocessor.setdefault('test_cfg', dict(size=(_SMALLEST, _SMALLEST)))


def load_strictly(model: nn.Module, content: object, source: str) -> None:
    """Load a checkpoint as tools/test.py does; a CheckpointError unless all fits and is finite."""
    report = compare_whole(model, find_tested(content, source), source, called='the model')
    report.require_fit()
    model.load_state_dict(report.state)


def require_config_fits(config: Config, checkpoint: str) -> None:
    """Raise a CheckpointError unless a checkpoint's weights are all of a config's model."""
    fit_to_hardware(config)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        load_strictly(MODELS.build(config.model), read_checkpoint(checkpoint), checkpoint)


def usable_device(name: str | None) -> torch.device:
    """The device of a name, or this machine's best; a UserError where it is not there."""
    try:
        device = torch.device(name or get_device())
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        raise UserError(
            f'--device: expected a device of this machine, got {name} ({first_line(error)}); '
            f'leave it out to have {get_device()}'
        ) from error
    return device
