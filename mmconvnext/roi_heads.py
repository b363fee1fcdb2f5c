"""The box and mask heads of two-stage detectors."""

from torch import nn


def stages(roi_head: nn.Module, kind: str) -> list[tuple[nn.Module, nn.Module]]:
    """What extracts the features of RoIs, and the head that takes them, stage by stage.

    A cascade has several, any other detector one; none where there is no such head.

    Args:
        roi_head: Of mmdet.
        kind: ``'bbox'`` or ``'mask'``.
    """
    parts = [getattr(roi_head, f'{kind}_{part}', None) for part in ('roi_extractor', 'head')]
    if parts[1] is None:
        return []
    return list(zip(*(part if isinstance(part, nn.ModuleList) else [part] for part in parts)))
