"""Published segmentors by file name: the config they are of and what was published for them.

Sources: facebookresearch/ConvNeXt @048efce, semantic_segmentation/README.md; mmseg 1.2.2,
configs/convnext/metafile.yaml (its own re-runs, the backbone in mmpretrain's names).
"""

from typing import NamedTuple


class Published(NamedTuple):
    """mIoU on ADE20K, single-scale and with multi-scale and flip, and who published it."""

    config: str
    single_scale: float
    multi_scale: float
    publisher: str


_PAPER = 'the paper'
_MMSEG = 'mmseg 1.2.2'

SEGMENTORS = {
    'upernet_convnext_tiny_1k_512x512.pth': Published(
        'upernet_convnext_t_ade20k', 46.0, 46.7, _PAPER
    ),
    'upernet_convnext_small_1k_512x512.pth': Published(
        'upernet_convnext_s_ade20k', 48.7, 49.6, _PAPER
    ),
    'upernet_convnext_base_1k_512x512.pth': Published(
        'upernet_convnext_b_ade20k', 49.1, 49.9, _PAPER
    ),
    'upernet_convnext_base_22k_640x640.pth': Published(
        'upernet_convnext_b_in22k_ade20k_640', 52.6, 53.1, _PAPER
    ),
    'upernet_convnext_large_22k_640x640.pth': Published(
        'upernet_convnext_l_in22k_ade20k_640', 53.2, 53.7, _PAPER
    ),
    'upernet_convnext_xlarge_22k_640x640.pth': Published(
        'upernet_convnext_xl_in22k_ade20k_640', 53.6, 54.0, _PAPER
    ),
    'upernet_convnext_tiny_fp16_512x512_160k_ade20k_20220227_124553-cad485de.pth': Published(
        'upernet_convnext_t_ade20k', 46.11, 46.62, _MMSEG
    ),
    'upernet_convnext_small_fp16_512x512_160k_ade20k_20220227_131208-1b1e394f.pth': Published(
        'upernet_convnext_s_ade20k', 48.56, 49.02, _MMSEG
    ),
    'upernet_convnext_base_fp16_512x512_160k_ade20k_20220227_181227-02a24fc6.pth': Published(
        'upernet_convnext_b_ade20k', 48.71, 49.54, _MMSEG
    ),
    'upernet_convnext_base_fp16_640x640_160k_ade20k_20220227_182859-9280e39b.pth': Published(
        'upernet_convnext_b_in22k_ade20k_640', 52.13, 52.66, _MMSEG
    ),
    'upernet_convnext_large_fp16_640x640_160k_ade20k_20220226_040532-e57aa54d.pth': Published(
        'upernet_convnext_l_in22k_ade20k_640', 53.16, 53.38, _MMSEG
    ),
    'upernet_convnext_xlarge_fp16_640x640_160k_ade20k_20220226_080344-95fc38c2.pth': Published(
        'upernet_convnext_xl_in22k_ade20k_640', 53.58, 54.11, _MMSEG
    ),
}
