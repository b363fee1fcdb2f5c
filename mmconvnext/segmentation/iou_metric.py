"""mmseg's IoUMetric with one look at each pixel, and one transfer at the end."""

import torch
from mmseg.evaluation import IoUMetric as PlainIoUMetric
from torch import Tensor

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import METRICS


@METRICS.register_module()
class IoUMetric(PlainIoUMetric):
    """mmseg's IoUMetric: the same arguments, the same numbers to the last digit.

    An image's areas are counted together, and stay on its device until :meth:`evaluate` moves
    those of all images at once: float32, as mmseg sums them, 4 × classes an image. ``fast=False``
    counts as mmseg does.
    """

    def __init__(self, *args: object, fast: bool = True, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fast = fast
        if not fast:
            self.__dict__['intersect_and_union'] = PlainIoUMetric.intersect_and_union

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Areas of the intersection, the union, the prediction and the label, of each class.

        Labels that are no class count in no label's area, but what is predicted there counts in
        the prediction's. Pixels of ``ignore_index`` do not count at all.

        Shapes: (H, W) twice, of one dtype and device → (classes,) four times, float32, there.

        Raises:
            ArgumentError: the sizes differ.
        """
        if pred_label.shape != label.shape:
            raise ArgumentError(
                'IoUMetric: expected a prediction of the size of the labels, '
                f'{tuple(label.shape)}, got {tuple(pred_label.shape)}; in the test '
                'pipeline, LoadAnnotations comes after Resize'
            )
        if num_classes == 1:  # histc's one bin then takes anything
            return PlainIoUMetric.intersect_and_union(pred_label, label, num_classes, ignore_index)
        joint = _joint_areas(pred_label.long(), label.long(), num_classes, ignore_index)
        areas = torch.stack([joint.diagonal(), joint.sum(0), joint.sum(1)])[:, :-1].float()
        intersection, of_prediction, of_label = areas
        return intersection, of_prediction + of_label - intersection, of_prediction, of_label

    def evaluate(self, size: int) -> dict:
        """The metrics, as mmseg's; the areas come to the CPU first, in one piece."""
        if self.fast and self.results and not self.format_only:
            areas = torch.stack([torch.stack(areas) for areas in self.results]).cpu()
            # Of its own memory each, since pickling a view takes all that it is a view of along.
            self.results[:] = [of_image.clone() for of_image in areas]
        return super().evaluate(size)


def _joint_areas(prediction: Tensor, label: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Pixels (classes + 1, classes + 1) by label and prediction; the last are of no class.

    Without bincount, which on an accelerator waits to learn the largest value.
    """
    label_row = label.where((label >= 0) & (label < classes), classes)
    # One more row takes what is ignored.
    label_row.masked_fill_(label == ignore_index, classes + 1)
    column = prediction.where((prediction >= 0) & (prediction < classes), classes)
    pixel_bin = label_row.mul_(classes + 1).add_(column).flatten()
    bins = pixel_bin.new_zeros((classes + 2) * (classes + 1))
    bins.scatter_add_(0, pixel_bin, torch.ones_like(pixel_bin))
    return bins.view(classes + 2, classes + 1)[:-1]
