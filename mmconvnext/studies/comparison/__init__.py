"""Costs and accuracy of ConvNeXt, Swin and ResNet in one segmentor and one detector."""
