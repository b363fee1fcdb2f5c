"""EncoderDecoder that predicts without a map of all classes at the image's size."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder as PlainEncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from mmconvnext.errors import ArgumentError, UserError
from mmconvnext.registry import MODELS
from mmconvnext.segmentation.label_map import View, view_of
from mmconvnext.segmentation.row_bands import full_precision
from mmconvnext.segmentation.whole_labels import WholeView, Windows

# Methods that mmseg's ``predict`` calls. A subclass that overrides one expects it to be called.
_STEPS = ('inference', 'slide_inference', 'whole_inference', 'encode_decode', 'postprocess_result')


class MissingLogitsError(UserError, AttributeError):
    """A prediction was asked for logits that it does not keep."""


class SampleWithoutLogits(SegDataSample):
    """A prediction without logits, which says so if mmseg's SegTTAModel asks for them.

    Raises:
        MissingLogitsError: (an AttributeError) ``seg_logits`` is read, but not set.
    """

    @SegDataSample.seg_logits.getter
    def seg_logits(self) -> PixelData:
        try:
            return self._seg_logits
        except AttributeError as error:
            raise MissingLogitsError(
                "seg_logits: expected the logits of all classes, as mmseg's SegTTAModel needs, got "
                'a prediction in tiles; set test_cfg.seg_logits=True of the model, or use '
                'mmconvnext.WholePictureTTAModel'
            ) from error


@MODELS.register_module()
class EncoderDecoder(PlainEncoderDecoder):
    """mmseg's EncoderDecoder, with the same arguments and parameters, which predicts in tiles.

    A prediction keeps the head's logits at their own size, usually a quarter of the input's size.
    In ``slide`` mode it keeps only the rows of windows that are still needed. Tile by tile, logits
    are resized, averaged, unpadded, flipped back, resized to ``ori_shape`` and turned into labels
    (see :class:`.View`). The labels equal mmseg's up to rounding.

    The data samples therefore have no ``seg_logits``, unless ``test_cfg`` has ``seg_logits=True``:
    mmseg's SegTTAModel needs them, :class:`.WholePictureTTAModel` does not. In this case, without
    data samples, or for a head with its own ``predict``, whole maps are built as in mmseg, except
    that windows are added in place.

    If a head's ``in_channels`` is None, it gets the backbone's channels at the head's ``in_index``.

    ``fast=False`` predicts like mmseg, and also sets ``fast=False`` for this package's backbone
    and heads in the model.

    Raises:
        ArgumentError: ``test_cfg`` is invalid, or a head's ``in_channels`` are unknown.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        neck: dict | None = None,
        auxiliary_head: dict | list[dict] | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        *args: object,
        fast: bool = True,
        **kwargs: object,
    ) -> None:
        if not fast:
            backbone, decode_head, auxiliary_head = (
                _without_fast(config) for config in (backbone, decode_head, auxiliary_head)
            )
        elif test_cfg is not None:
            _check_test_cfg(test_cfg)
        super().__init__(
            backbone, decode_head, neck, auxiliary_head, train_cfg, test_cfg, *args, **kwargs
        )
        self.fast = fast

    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(self._with_in_channels(decode_head))

    def _init_auxiliary_head(self, auxiliary_head: dict | list[dict] | None) -> None:
        super()._init_auxiliary_head(self._with_in_channels(auxiliary_head))

    def _with_in_channels(self, head: dict | list[dict] | None) -> Any:
        """Return the config of one or several heads, with missing ``in_channels`` filled in."""
        if isinstance(head, list):
            return [self._with_in_channels(one) for one in head]
        if head is None or head.get('in_channels', ...) is not None:
            return head
        given = getattr(self.backbone, 'out_channels', None)
        if self.with_neck or not isinstance(given, tuple):
            raise ArgumentError(
                f'{head.get("type")}: expected in_channels, got None; set them: they are known '
                'only for a backbone of mmconvnext without a neck'
            )
        index = head.get('in_index', -1)
        indices = [index] if isinstance(index, int) else index
        if any(not -len(given) <= i < len(given) for i in indices):
            raise ArgumentError(
                f'{head.get("type")}: expected in_index among the {len(given)} maps of the '
                f'backbone, got {index}; change it, or the out_indices of the backbone'
            )
        channels = given[index] if isinstance(index, int) else [given[i] for i in index]
        return {**head, 'in_channels': channels}

    def decides_in_tiles(self) -> bool:
        """Return whether ``predict`` makes labels without maps of all classes."""
        head = type(self.decode_head)
        return (
            self.fast
            and not (self.test_cfg or {}).get('seg_logits', False)
            and all(getattr(type(self), name) is getattr(EncoderDecoder, name) for name in _STEPS)
            and head.predict is BaseDecodeHead.predict
            and head.predict_by_feat is BaseDecodeHead.predict_by_feat
        )

    # Only backbone and head, in `_logits`, are compiled, not the processing of the logits.
    @torch.compiler.disable(recursive=False)
    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        if self.fast:
            _check_test_cfg(self.test_cfg)
        if data_samples is None or not self.decides_in_tiles():
            return super().predict(inputs, data_samples)
        metas = [sample.metainfo for sample in data_samples]
        for number, (views, strips) in enumerate(self._look(inputs, metas)):
            with torch.no_grad(), full_precision(inputs.device):
                for view, strip in zip(views, strips):
                    view.decide(number, strip, self.decode_head.threshold)
        for sample, view in zip(data_samples, views):
            sample.set_data({'pred_sem_seg': PixelData(data=view.labels)})
            if type(sample) is SegDataSample:
                # Not by assignment, which would set a field of the sample.
                object.__setattr__(sample, '__class__', SampleWithoutLogits)
        return data_samples

    @torch.no_grad()
    def look(self, inputs: Tensor, metas: Sequence[Mapping]) -> list[View | WholeView]:
        """Return a view of each image in a batch, (N, C, H, W), with logits at the head's size."""
        for number, (views, strips) in enumerate(self._look(inputs, metas)):
            for view, strip in zip(views, strips):
                view.add(number, strip)
        return views

    @torch.no_grad()
    def _look(
        self, inputs: Tensor, metas: Sequence[Mapping]
    ) -> Iterator[tuple[list[View | WholeView], list[tuple[Tensor, ...]]]]:
        """Yield each row of windows: the images' views, always the same, and their strips."""
        rows, columns = self._windows(inputs.shape[2:], metas[0])
        views = None
        for row in rows.slices():
            windows = [self._logits(inputs[:, :, row, column]) for column in columns.slices()]
            views = views or [
                view_of(meta, rows, columns, windows[0][0], self.align_corners) for meta in metas
            ]
            yield views, list(zip(*windows))

    def _logits(self, inputs: Tensor) -> Tensor:
        """Return the head's logits as (N, h, w, C), float32 or more: classes are adjacent."""
        logits = self._forward(inputs)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return logits.permute(0, 2, 3, 1).to(dtype).contiguous()

    def _windows(self, size: Sequence[int], meta: Mapping) -> tuple[Windows, ...]:
        """Return the windows along rows and columns of an input of a size, as in mmseg."""
        if self.test_cfg.get('mode', 'whole') == 'slide':
            along = zip(size, self.test_cfg['crop_size'], self.test_cfg['stride'])
            return tuple(_slide(*lengths) for lengths in along)
        # Logits are resized to the size that mmseg's heads use as the input's size.
        size = meta['img_shape']
        if not isinstance(size, torch.Size) and 'pad_shape' in meta:
            size = meta['pad_shape'][:2]
        return tuple(Windows((0,), length, length) for length in size)

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the mean of the windows' logits, (N, C, H, W), for inputs (N, 3, H, W)."""
        if not self.fast:
            return super().slide_inference(inputs, batch_img_metas)
        rows, columns = self._windows(inputs.shape[2:], batch_img_metas[0])
        total = inputs.new_zeros(len(inputs), self.out_channels, *inputs.shape[2:])
        count = inputs.new_zeros(1, 1, *inputs.shape[2:])
        for row, column in product(rows.slices(), columns.slices()):
            window = inputs[..., row, column]
            metas = [{**batch_img_metas[0], 'img_shape': window.shape[2:]}]
            total[..., row, column] += self.encode_decode(window, metas)
            count[..., row, column] += 1
        return total.div_(count)


def _slide(length: int, size: int, stride: int) -> Windows:
    """Return windows every ``stride`` pixels; the last one is moved back to the input's end."""
    size = min(size, length)
    number = max(length - size + stride - 1, 0) // stride + 1
    return Windows(tuple(min(i * stride, length - size) for i in range(number)), size, length)


def _check_test_cfg(test_cfg: Mapping | None) -> None:
    mode = None if test_cfg is None else test_cfg.get('mode', 'whole')
    if test_cfg is None or mode not in ('slide', 'whole'):
        raise ArgumentError(
            f"test_cfg: expected dict(mode='whole') or dict(mode='slide', crop_size=(height, "
            f'width), stride=(down, right)), got {test_cfg}'
        )
    if mode == 'whole':
        return
    pairs = [test_cfg.get(name) for name in ('crop_size', 'stride')]
    if not all(_is_pair(pair) for pair in pairs) or any(s > c for c, s in zip(*pairs)):
        raise ArgumentError(
            "test_cfg: expected in mode='slide' a crop_size and a stride of two positive integers "
            f'each, no stride larger than the crop, got crop_size={pairs[0]}, stride={pairs[1]}'
        )


def _is_pair(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and len(value) == 2
    return is_list and all(isinstance(number, int) and number > 0 for number in value)


def _without_fast(config: dict | list[dict] | None) -> Any:
    """Return a copy of one or several modules' configs, with fast=False for this package's."""
    if isinstance(config, list):
        return [_without_fast(one) for one in config]
    if config is None or not str(config.get('type')).startswith('mmconvnext.'):
        return config
    config = copy.copy(config)  # so that the caller's config does not change
    config['fast'] = False
    return config
