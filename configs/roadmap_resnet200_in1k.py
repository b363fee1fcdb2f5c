"""A step of the way from ResNet-200 to ConvNeXt-B, ImageNet-1K, 224², 300 epochs from scratch.

Any step: `--cfg-options model.backbone.step=depthwise`; by default the last one, ConvNeXt-B.
Published: top-1 83.60 of that one, without an average of weights (arXiv 2201.03545,
tables 5 and 11; the others: tools/roadmap.py). Not reproduced here.
Drop path .5 is what table 5 has for ConvNeXt-B; for the steps before it, that is ours.
8 GPUs × 128 images × 4 iterations = 4096, float32:
    tools/dist_train.sh configs/roadmap_resnet200_in1k.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/imagenet_300e.py',
    '_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmconvnext.RoadmapNet',
        step='separate_downsampling',
        regime='resnet200',
        out_indices=(3,),
        drop_path_rate=0.5,
        layer_scale_init_value=1e-6,
    ),
)
