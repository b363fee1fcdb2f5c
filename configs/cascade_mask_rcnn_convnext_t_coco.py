"""Cascade Mask R-CNN, ConvNeXt-T (ImageNet-1K), COCO, 36 epochs.

Published: box AP 50.4, mask AP 43.7; 86M parameters, 741G FLOPs at 1280×800
(arXiv 2201.03545, table 3; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth
Published model:
    https://dl.fbaipublicfiles.com/convnext/coco/cascade_mask_rcnn_convnext_tiny_1k_3x.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/cascade_mask_rcnn_convnext_t_coco.py 8
"""

_base_ = [
    '_base_/models/cascade_mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/detection_36e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth',
        ),
    ),
)
