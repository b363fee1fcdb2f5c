"""Published models by file name: their config and their published results.

Sources: facebookresearch/ConvNeXt @048efce, README.md, semantic_segmentation/README.md and
object_detection/README.md; facebookresearch/ConvNeXt-V2 @1e48272, README.md; mmseg 1.2.2 and mmdet
3.3.0, configs/convnext/metafile.y(a)ml (their own re-runs, the backbone in mmpretrain's names).
"""

from collections.abc import Mapping
from typing import NamedTuple


class Release(NamedTuple):
    """Published results in percent, by the names that a test prints, and their publisher.

    ``augmented`` is with multi-scale and flip testing, and empty if nothing was published.
    """

    config: str
    results: Mapping[str, float]
    augmented: Mapping[str, float]
    publisher: str


_PAPER = 'the paper'
_MMSEG = 'mmseg 1.2.2'
_MMDET = 'mmdet 3.3.0'


def _segmentor(config: str, single: float, augmented: float, publisher: str = _PAPER) -> Release:
    """UperNet's mIoU on ADE20K."""
    name = f'upernet_convnext_{config}'
    return Release(name, {'mIoU': single}, {'mIoU': augmented}, publisher)


def _detector(
    size: str, box: float, mask: float, publisher: str = _PAPER, kind: str = 'cascade_mask_rcnn'
) -> Release:
    """Box and mask AP on COCO, at one scale."""
    results = {'coco/bbox_mAP': box, 'coco/segm_mAP': mask}
    return Release(f'{kind}_convnext_{size}_coco', results, {}, publisher)


def _classifier(config: str, top1: float) -> Release:
    """Top-1 accuracy on ImageNet-1K, of one central crop or, at 384², the whole image."""
    return Release(config, {'top1': top1}, {}, _PAPER)


RELEASES = {
    'upernet_convnext_tiny_1k_512x512.pth': _segmentor('t_ade20k', 46.0, 46.7),
    'upernet_convnext_small_1k_512x512.pth': _segmentor('s_ade20k', 48.7, 49.6),
    'upernet_convnext_base_1k_512x512.pth': _segmentor('b_ade20k', 49.1, 49.9),
    'upernet_convnext_base_22k_640x640.pth': _segmentor('b_in22k_ade20k_640', 52.6, 53.1),
    'upernet_convnext_large_22k_640x640.pth': _segmentor('l_in22k_ade20k_640', 53.2, 53.7),
    'upernet_convnext_xlarge_22k_640x640.pth': _segmentor('xl_in22k_ade20k_640', 53.6, 54.0),
    'upernet_convnext_tiny_fp16_512x512_160k_ade20k_20220227_124553-cad485de.pth': _segmentor(
        't_ade20k', 46.11, 46.62, _MMSEG
    ),
    'upernet_convnext_small_fp16_512x512_160k_ade20k_20220227_131208-1b1e394f.pth': _segmentor(
        's_ade20k', 48.56, 49.02, _MMSEG
    ),
    'upernet_convnext_base_fp16_512x512_160k_ade20k_20220227_181227-02a24fc6.pth': _segmentor(
        'b_ade20k', 48.71, 49.54, _MMSEG
    ),
    'upernet_convnext_base_fp16_640x640_160k_ade20k_20220227_182859-9280e39b.pth': _segmentor(
        'b_in22k_ade20k_640', 52.13, 52.66, _MMSEG
    ),
    'upernet_convnext_large_fp16_640x640_160k_ade20k_20220226_040532-e57aa54d.pth': _segmentor(
        'l_in22k_ade20k_640', 53.16, 53.38, _MMSEG
    ),
    'upernet_convnext_xlarge_fp16_640x640_160k_ade20k_20220226_080344-95fc38c2.pth': _segmentor(
        'xl_in22k_ade20k_640', 53.58, 54.11, _MMSEG
    ),
    'mask_rcnn_convnext_tiny_1k_3x.pth': _detector('t', 46.2, 41.7, kind='mask_rcnn'),
    'cascade_mask_rcnn_convnext_tiny_1k_3x.pth': _detector('t', 50.4, 43.7),
    'cascade_mask_rcnn_convnext_small_1k_3x.pth': _detector('s', 51.9, 45.0),
    'cascade_mask_rcnn_convnext_base_1k_3x.pth': _detector('b', 52.7, 45.6),
    'cascade_mask_rcnn_convnext_base_22k_3x.pth': _detector('b_in22k', 54.0, 46.9),
    'cascade_mask_rcnn_convnext_large_22k_3x.pth': _detector('l_in22k', 54.8, 47.6),
    'cascade_mask_rcnn_convnext_xlarge_22k_3x.pth': _detector('xl_in22k', 55.2, 47.7),
    'mask_rcnn_convnext-t_p4_w7_fpn_fp16_ms-crop_3x_coco_20220426_154953-050731f4.pth': _detector(
        't', 46.2, 41.7, _MMDET, 'mask_rcnn'
    ),
    (
        'cascade_mask_rcnn_convnext-t_p4_w7_fpn_giou_4conv1f_fp16_ms-crop_3x_coco_'
        '20220509_204200-8f07c40b.pth'
    ): _detector('t', 50.3, 43.6, _MMDET),
    (
        'cascade_mask_rcnn_convnext-s_p4_w7_fpn_giou_4conv1f_fp16_ms-crop_3x_coco_'
        '20220510_201004-3d24f5a4.pth'
    ): _detector('s', 51.8, 44.8, _MMDET),
    'convnext_tiny_1k_224_ema.pth': _classifier('convnext_t_in1k', 82.1),
    'convnext_small_1k_224_ema.pth': _classifier('convnext_s_in1k', 83.1),
    'convnext_base_1k_224_ema.pth': _classifier('convnext_b_in1k', 83.8),
    'convnext_large_1k_224_ema.pth': _classifier('convnext_l_in1k', 84.3),
    'convnext_xlarge_22k_1k_224_ema.pth': _classifier('convnext_xl_in1k', 87.0),
    'convnext_tiny_22k_1k_384.pth': _classifier('convnext_t_in22k_in1k_384', 84.1),
    'convnext_small_22k_1k_384.pth': _classifier('convnext_s_in22k_in1k_384', 85.8),
    'convnext_base_22k_1k_384.pth': _classifier('convnext_b_in22k_in1k_384', 86.8),
    'convnext_large_22k_1k_384.pth': _classifier('convnext_l_in22k_in1k_384', 87.5),
    'convnext_xlarge_22k_1k_384_ema.pth': _classifier('convnext_xl_in22k_in1k_384', 87.8),
    'convnextv2_atto_1k_224_ema.pt': _classifier('convnextv2_atto_in1k', 76.7),
    'convnextv2_femto_1k_224_ema.pt': _classifier('convnextv2_femto_in1k', 78.5),
    'convnextv2_pico_1k_224_ema.pt': _classifier('convnextv2_pico_in1k', 80.3),
    'convnextv2_nano_1k_224_ema.pt': _classifier('convnextv2_nano_in1k', 81.9),
    'convnextv2_tiny_1k_224_ema.pt': _classifier('convnextv2_t_in1k', 83.0),
    'convnextv2_base_1k_224_ema.pt': _classifier('convnextv2_b_in1k', 84.9),
    'convnextv2_large_1k_224_ema.pt': _classifier('convnextv2_l_in1k', 85.8),
    'convnextv2_huge_1k_224_ema.pt': _classifier('convnextv2_h_in1k', 86.3),
}
