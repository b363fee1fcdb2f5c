"""ConvNeXt, Swin and ResNet in one segmentor and one detector: what they cost, what they reach."""
