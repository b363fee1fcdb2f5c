"""mmseg's IoUMetric with one pass over the pixels, and one transfer at the end."""

import torch
from mmseg.evaluation import IoUMetric as PlainIoUMetric
from torch import Tensor

from mmconvnext.errors import ArgumentError
from mmconvnext.registry import METRICS


@METRICS.register_module()
class IoUMetric(PlainIoUMetric):
    """mmseg's IoUMetric, with the same arguments and exactly the same numbers.

    All areas of an image are counted together, and stay on the device until :meth:`evaluate` moves
    those of all images at once: 4 × classes float32 values per image, like mmseg's sums.
    ``fast=False`` counts like mmseg.
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
        """Return each class's areas of intersection, union, prediction and label.

        Pixels whose label is not a class count only in the area of the prediction. Pixels of
        ``ignore_index`` do not count.

        Shapes: (H, W) twice, of one dtype and device → (classes,) four times, float32, on that
        device.

        Raises:
            ArgumentError: the sizes differ.
        """
        if pred_label.shape != label.shape:
            raise ArgumentError(
                'IoUMetric: expected a prediction of the size of the labels, '
                f'{tuple(label.shape)}, got {tuple(pred_label.shape)}; in the test '
                'pipeline, LoadAnnotations comes after Resize'
            )
        if num_classes == 1:  # a single bin of histc counts all values
            return PlainIoUMetric.intersect_and_union(pred_label, label, num_classes, ignore_index)
        joint = _joint_areas(pred_label.long(), label.long(), num_classes, ignore_index)
        areas = torch.stack([joint.diagonal(), joint.sum(0), joint.sum(1)])[:, :-1].float()
        intersection, of_prediction, of_label = areas
        return intersection, of_prediction + of_label - intersection, of_prediction, of_label

    def evaluate(self, size: int) -> dict:
        """Return mmseg's metrics; move the areas to the CPU first, in one transfer."""
        if self.fast and self.results and not self.format_only:
            areas = torch.stack([torch.stack(areas) for areas in self.results]).cpu()
            # Copies, because pickling a view would include the whole tensor.
            self.results[:] = [of_image.clone() for of_image in areas]
        return super().evaluate(size)


def _joint_areas(prediction: Tensor, label: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Count pixels by label and prediction, (classes + 1, classes + 1); the last is "no class".

    It does not use bincount, which waits for the largest value on an accelerator.
    """
    label_row = label.where((label >= 0) & (label < classes), classes)
    # One more row counts ignored pixels.
    label_row.masked_fill_(label == ignore_index, classes + 1)
    column = prediction.where((prediction >= 0) & (prediction < classes), classes)
    pixel_bin = label_row.mul_(classes + 1).add_(column).flatten()
    bins = pixel_bin.new_zeros((classes + 2) * (classes + 1))
    bins.scatter_add_(0, pixel_bin, torch.ones_like(pixel_bin))
    return bins.view(classes + 2, classes + 1)[:-1]
