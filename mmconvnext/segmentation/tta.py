"""Multi-scale and flip testing as in the paper."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList

from mmconvnext.registry import MODELS
from mmconvnext.segmentation.label_map import View, merged_labels
from mmconvnext.segmentation.row_bands import full_precision
from mmconvnext.segmentation.segmentor import EncoderDecoder
from mmconvnext.segmentation.whole_labels import WholeView


@MODELS.register_module()
class WholePictureTTAModel(SegTTAModel):
    """mmseg's test-time augmentation, on whole images.

    mmseg uses the ``slide`` mode of the model's ``test_cfg`` also with augmentation, but the
    published multi-scale results are for whole images (facebookresearch/ConvNeXt @048efce,
    ``semantic_segmentation/configs/convnext/*_ms.py``, which have no slide in ``test_cfg``).

    With this package's EncoderDecoder, the logits of all views are kept at the head's size, and
    probabilities are averaged tile by tile: 12 views of an image of 683 × 512 with 150 classes take
    about 230 MB. With other models, or ``fast=False``, mmseg averages whole maps, with 210 MB per
    view.
    """

    def __init__(self, module: dict, **kwargs: object) -> None:
        config = ConfigDict(module)
        config.test_cfg = ConfigDict(mode='whole')
        super().__init__(module=config, **kwargs)

    def test_step(self, data: Mapping[str, Sequence]) -> SampleList:
        """Return merged predictions for a batch.

        ``data`` has ``inputs`` and ``data_samples``, each a list of views with one entry per image.
        """
        segmentor = self.module
        if not (isinstance(segmentor, EncoderDecoder) and segmentor.decides_in_tiles()):
            return super().test_step(data)
        samples, views = [], []
        for entries in zip(*data.values(), strict=True):
            view = segmentor.data_preprocessor(dict(zip(data, entries)), False)
            samples.append(view['data_samples'])
            metas = [sample.metainfo for sample in samples[-1]]
            views.append(segmentor.look(view['inputs'], metas))
        return [
            self._merge(*of_image)
            for of_image in zip(zip(*samples, strict=True), zip(*views, strict=True))
        ]

    def _merge(self, samples: SampleList, views: Sequence[View | WholeView]) -> SegDataSample:
        """Return one image's labels in the sample of its last view, as in mmseg."""
        with torch.no_grad(), full_precision(next(self.module.parameters()).device):
            labels = merged_labels(views, self.module.decode_head.threshold)
        first, last = samples[0], samples[-1]
        last.set_data({'pred_sem_seg': PixelData(data=labels)})
        if 'gt_sem_seg' in first:
            last.set_data({'gt_sem_seg': first.gt_sem_seg})
        last.set_metainfo({'img_path': first.img_path})
        return last
