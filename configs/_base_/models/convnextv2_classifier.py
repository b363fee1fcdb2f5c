"""ConvNeXt V2-T with the classifier of the paper, for fine-tuning after FCMAE.

Source: facebookresearch/ConvNeXt-V2 @d7cc26f, models/convnextv2.py and main_finetune.py.
"""

_base_ = './convnext_classifier.py'
model = dict(
    backbone=dict(use_grn=True, layer_scale_init_value=0.0),
    head_init_scale=0.001,
)
