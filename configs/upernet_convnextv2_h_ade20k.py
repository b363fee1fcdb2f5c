"""UperNet, ConvNeXt V2-H (FCMAE, then ImageNet-1K), ADE20K, 512² crops, 160k iterations.

Published: mIoU 55.0 multi-scale + flip (arXiv 2301.00808). Not reproduced here.
Conv + linear MACs at 2048×512: 3272G, computed. The paper gives ranges alone: decay .8 or .9,
lr 1e-4 to 3e-4, drop path .1 to .4; the values of V1, which lie inside, are ours, as are
stage-wise decay and float32. Weights: CC-BY-NC.
Starts from https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k/convnextv2_huge_1k_224_ema.pt
8 GPUs × 2 images = 16:
    tools/dist_train.sh configs/upernet_convnextv2_h_ade20k.py 8
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    backbone=dict(
        arch='huge',
        use_grn=True,
        layer_scale_init_value=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k/convnextv2_huge_1k_224_ema.pt',
        ),
    ),
)
optim_wrapper = dict(type='OptimWrapper')
