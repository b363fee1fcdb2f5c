"""Cascade Mask R-CNN, ConvNeXt-B (ImageNet-1K), COCO, 36 epochs.

Published: box AP 52.7, mask AP 45.6; 146M parameters, 964G FLOPs at 1280×800
(arXiv 2201.03545, table 3; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth
Published model:
    https://dl.fbaipublicfiles.com/convnext/coco/cascade_mask_rcnn_convnext_base_1k_3x.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/cascade_mask_rcnn_convnext_b_coco.py 8
"""

_base_ = [
    '_base_/models/cascade_mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/detection_36e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.7,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth',
        ),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
