"""COCO's bbox and segm AP, computed by faster-coco-eval, with mmdet's interface."""

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric as MMDetCocoMetric
from mmengine.fileio import dump, put_text
from mmengine.logging import MMLogger
from pycocotools import mask as mask_api
from terminaltables import AsciiTable  # as in mmdet, which depends on it

from mmconvnext.detection.proposal_recall import NO_BOXES, boxes_to_find, mean_recalls
from mmconvnext.errors import ArgumentError, UserError
from mmconvnext.registry import METRICS

try:
    import faster_coco_eval
except ModuleNotFoundError:  # reported when the metric is built; only the metric needs it
    faster_coco_eval = None

#: By mmdet's names, (curve, IoU threshold or all, area range, place in the sorted proposal_nums).
SUMMARY: dict[str, tuple[str, float | None, str, int | str]] = {
    'mAP': ('precision', None, 'all', 'at 100'),
    'mAP_50': ('precision', 0.5, 'all', 2),
    'mAP_75': ('precision', 0.75, 'all', 2),
    'mAP_s': ('precision', None, 'small', 2),
    'mAP_m': ('precision', None, 'medium', 2),
    'mAP_l': ('precision', None, 'large', 2),
    'AR@100': ('recall', None, 'all', 0),
    'AR@300': ('recall', None, 'all', 1),
    'AR@1000': ('recall', None, 'all', 2),
    'AR_s@1000': ('recall', None, 'small', 2),
    'AR_m@1000': ('recall', None, 'medium', 2),
    'AR_l@1000': ('recall', None, 'large', 2),
}
#: Those of them that are an average precision.
AP_ITEMS = [item for item, (curve, *_) in SUMMARY.items() if curve == 'precision']
AR_ITEMS = [item for item, (curve, *_) in SUMMARY.items() if curve == 'recall']
AREAS = ['all', 'small', 'medium', 'large']
CLASS_TABLE = ['class', 'AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large']


class Curves(NamedTuple):
    """Results of one evaluation; -1 where there is no ground truth.

    ``precision`` has the shape (IoU thresholds, 101 recalls, categories by ascending id, 4 areas,
    proposal_nums); ``recall`` has the same shape without the axis of recalls.
    """

    precision: np.ndarray
    recall: np.ndarray
    iou_thrs: np.ndarray
    proposal_nums: list[int]

    def summary(self, item: str) -> float:
        """Return an item of :data:`SUMMARY` over all categories, or -1 without ground truth."""
        curve, iou, area, place = SUMMARY[item]
        if isinstance(place, str):  # as in pycocotools: at 100, regardless of the largest number
            place = self.proposal_nums.index(100) if 100 in self.proposal_nums else 2
        return _mean_measured(self._select(curve, iou, area, place))

    def of_category(self, item: str, category: int) -> float:
        """Return an item of :data:`AP_ITEMS` for the i-th category, or -1 without ground truth."""
        curve, iou, area, _ = SUMMARY[item]
        return _mean_measured(self._select(curve, iou, area, -1)[..., category])

    def _select(self, curve: str, iou: float | None, area: str, place: int) -> np.ndarray:
        values = getattr(self, curve)[..., AREAS.index(area), place]
        return values if iou is None else values[np.isclose(self.iou_thrs, iou)]


def _mean_measured(values: np.ndarray) -> np.float64:
    measured = values[values > -1]
    return measured.mean() if measured.size else np.float64(-1)


def encode_masks(masks: torch.Tensor) -> list[dict]:
    """Return COCO's RLE of binary masks (N, H, W), identical to mmdet's encoding.

    RLE runs down the columns. The transposed view of a mask that OpenCV has transposed is the
    column-major array that pycocotools expects; numpy's copy would take longer than the encoding.
    """
    columns = (cv2.transpose(mask.astype(np.uint8)).T for mask in masks.detach().cpu().numpy())
    return [mask_api.encode(mask[:, :, np.newaxis])[0] for mask in columns]


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """mmdet's ``CocoMetric`` with faster-coco-eval: same arguments, same keys, same numbers.

    Values are rounded to three digits, as in mmdet. No temporary files are written:
    ``results2json`` runs only with an ``outfile_prefix``. ``use_mp_eval`` has no effect.

    Differences from mmdet, where mmdet fails or misleads:

    - Without any detection the result is 0 under the usual keys, if there is ground truth (mmdet
      omits the keys, so that ``save_best`` fails). Without ground truth it is -1, as in
      pycocotools, and nan for a single class, as in mmdet.
    - ``classwise`` names each class correctly even if the json's categories are not sorted by id
      (mmdet assumes the json's order, but pycocotools sorts by id).
    - An annotation may have the id 0, for which pycocotools counts a match as none.
    - ``iou_thrs`` may be a number or a list; AP50 and AP75 are -1 only if it does not contain them.
    - ``mAP`` is at 100 detections per image, as in pycocotools, or at the third of
      ``proposal_nums`` if they do not include 100 (-1 in pycocotools).
    - ``proposal_fast`` works if images have different numbers of boxes (mmdet's fails from numpy
      1.24), and matches images by id, not by order.

    Labels follow the json's order of the categories in ``metainfo['classes']``, as in mmdet's
    ``CocoDataset``. With several metrics the ``NAME_precision`` keys of ``classwise`` are from the
    last metric, as in mmdet.

    Raises :class:`.ArgumentError` for metric items, proposal_nums, labels, images and annotations
    that cannot be evaluated, and :class:`.UserError` if faster-coco-eval is not installed.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        if faster_coco_eval is None:
            raise UserError(
                'mmconvnext.CocoMetric: expected faster-coco-eval to be installed, found none; '
                'pip install faster-coco-eval'
            )
        super().__init__(*args, **kwargs)
        self.iou_thrs: np.ndarray = np.atleast_1d(np.asarray(self.iou_thrs, dtype=float))
        self._check_arguments()
        if self._coco_api and not self._coco_api.anns and not self.format_only:
            if 'annotations' not in self._coco_api.dataset:
                raise ArgumentError(
                    'ann_file of the evaluator: expected annotations to evaluate against, found '
                    'none; give another file, or set format_only=True and outfile_prefix'
                )
            MMLogger.get_current_instance().warning('ann_file has no annotations: metrics are -1')
        # The ground truth in faster-coco-eval's form, made once for all epochs.
        self._truth: Any = None

    def _check_arguments(self) -> None:
        unknown = [item for item in self.metric_items or [] if item not in SUMMARY]
        if unknown:
            raise ArgumentError(
                f'metric_items: expected some of {", ".join(SUMMARY)}, got {", ".join(unknown)}; '
                'correct the evaluator in the config'
            )
        if len(self.proposal_nums) < 3 and set(self.metrics) != {'proposal_fast'}:
            raise ArgumentError(
                f'proposal_nums: expected three numbers of detections, got {self.proposal_nums}; '
                'give three, such as (1, 10, 100)'
            )

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store a batch of predictions; masks, (N, H, W) in each image, become RLE."""
        super().process(data_batch, [_with_encoded_masks(sample) for sample in data_samples])

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Return the metrics of (ground truth, prediction) pairs; empty with ``format_only``."""
        logger = MMLogger.get_current_instance()
        predictions = [prediction for _, prediction in results]
        self._read_ground_truth([truth for truth, _ in results])
        if self.outfile_prefix is not None:
            files = self.results2json(predictions, self.outfile_prefix)
            logger.info(f'Results are saved in {", ".join(dict.fromkeys(files.values()))}')
        metrics: dict[str, float] = {}
        for metric in [] if self.format_only else self.metrics:
            logger.info(f'Evaluating {metric}...')
            if metric == 'proposal_fast':
                metrics |= self._recall_of_proposals(predictions)
            else:
                metrics |= self._report(metric, self._evaluate(metric, predictions))
        return metrics

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write PREFIX.bbox.json and, with masks, PREFIX.segm.json, in COCO's results format.

        Returns the file of each kind of result: ``bbox``, ``proposal`` and, with masks, ``segm``.
        """
        with_masks = any('masks' in result for result in results)
        kinds = ['bbox', 'segm'] if with_masks else ['bbox']
        files = {kind: f'{outfile_prefix}.{kind}.json' for kind in kinds}
        for kind, path in files.items():
            put_text(dump(self._coco_results(kind, results), file_format='json'), path)
        return {**files, 'proposal': files['bbox']}

    def _read_ground_truth(self, truths: list[dict]) -> None:
        if self._coco_api is None:  # mmdet's own conversion, with areas of boxes even for masks
            with TemporaryDirectory() as folder:
                prefix = self.outfile_prefix or os.path.join(folder, 'results')
                self._coco_api: COCO = COCO(self.gt_to_coco_json(truths, prefix))
        if self.cat_ids is None:
            self.cat_ids: list[int] = self._coco_api.get_cat_ids(self.dataset_meta['classes'])
            self.img_ids: list[int | str] = self._coco_api.get_img_ids()
        if not self.cat_ids:
            names = [category['name'] for category in self._coco_api.dataset['categories']]
            raise ArgumentError(
                f'ann_file: expected categories {list(self.dataset_meta["classes"])}, the classes '
                f"of the dataset, got {names}; give the dataset's metainfo or another file"
            )

    def _evaluate(self, metric: str, predictions: list[dict]) -> Curves:
        """Match predictions to the ground truth by boxes or, for ``segm``, by masks."""
        kind = 'segm' if metric == 'segm' else 'bbox'
        rows = self._coco_results(kind, predictions)
        if not rows:
            logger = MMLogger.get_current_instance()
            logger.warning(f'{metric}: no detection in {len(predictions)} images')
        truth = self._ground_truth(metric)
        evaluation = faster_coco_eval.COCOeval_faster(truth, self._detections(kind, rows), kind)
        parameters = evaluation.params
        parameters.imgIds = list(self._numbers.values())
        parameters.catIds = self.cat_ids
        parameters.maxDets = sorted(self.proposal_nums)
        parameters.iouThrs = self.iou_thrs
        parameters.useCats = int(metric != 'proposal')
        evaluation.evaluate()
        evaluation.accumulate()
        found = evaluation.eval
        return Curves(found['precision'], found['recall'], self.iou_thrs, parameters.maxDets)

    def _ground_truth(self, metric: str) -> 'faster_coco_eval.COCO':
        """Return the annotations for faster-coco-eval, as copies, because it changes them."""
        _check_annotations(self._coco_api.dataset.get('annotations', []), self.cat_ids, metric)
        if self._truth is None:
            # Image ids must be integers; the order is kept: it decides between equal scores.
            self._numbers = {name: n for n, name in enumerate(sorted(self.img_ids), 1)}
            given = self._coco_api.dataset
            images = [{**image, 'id': self._numbers[image['id']]} for image in given['images']]
            annotations = [
                {**annotation, 'id': n, 'image_id': self._numbers[annotation['image_id']]}
                # An id of 0 would mean "not matched".
                for n, annotation in enumerate(given.get('annotations', []), 1)
                if annotation['image_id'] in self._numbers
            ]
            dataset = dict(images=images, categories=given['categories'], annotations=annotations)
            self._truth = faster_coco_eval.COCO(dataset)
        return self._truth

    def _detections(self, kind: str, rows: list[dict]) -> 'faster_coco_eval.COCO':
        """Return the detections for faster-coco-eval, with ids and areas."""
        if kind == 'segm':
            areas = faster_coco_eval.mask.area([row['segmentation'] for row in rows])
        else:
            areas = [row['bbox'][2] * row['bbox'][3] for row in rows]
        annotations = [
            {**row, 'id': n, 'image_id': self._number(row['image_id']), 'area': area, 'iscrowd': 0}
            for n, (row, area) in enumerate(zip(rows, areas), 1)
        ]
        dataset = self._truth.dataset
        return faster_coco_eval.COCO({**dataset, 'annotations': annotations})

    def _number(self, image: int | str) -> int:
        if image not in self._numbers:
            raise ArgumentError(
                f'predictions: expected images of ann_file, got image id {image!r}; set the same '
                'ann_file for the evaluator and the dataset'
            )
        return self._numbers[image]

    def _coco_results(self, kind: str, predictions: Sequence[dict]) -> list[dict]:
        """Return COCO's list of results: boxes (x, y, width, height) in pixels, RLE if ``segm``."""
        rows = []
        for prediction in predictions:
            corners = prediction['bboxes'].astype(float)
            boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
            scores = prediction['scores']
            if kind == 'segm':
                scores = prediction.get('mask_scores', scores)
            found = [
                dict(image_id=prediction['img_id'], bbox=box, score=score, category_id=category)
                for box, score, category in zip(
                    boxes, scores.tolist(), self._categories(prediction['labels'])
                )
            ]
            if kind == 'segm':
                _add_masks(found, prediction.get('masks', []))
            rows += found
        return rows

    def _categories(self, labels: np.ndarray) -> list[int]:
        """Return the json's category ids for labels of shape (N,)."""
        if labels.size and labels.max() >= len(self.cat_ids):
            raise ArgumentError(
                f'predictions: expected labels below {len(self.cat_ids)}, the number of classes '
                f'in ann_file, got {labels.max()}; set num_classes of the heads'
            )
        return [self.cat_ids[label] for label in labels]

    def _report(self, metric: str, curves: Curves) -> dict[str, float]:
        """Log an evaluation, and return its numbers under mmdet's names."""
        if metric == 'proposal':
            items = self.metric_items or AR_ITEMS
            return {item: round(float(curves.summary(item)), 3) for item in items}
        values = self._report_classes(metric, curves) if self.classwise else {}
        for item in self.metric_items or AP_ITEMS:
            # numpy's rounding, as in mmdet: it differs from Python's if a value ends in 5.
            values[f'{metric}_{item}'] = float(np.round(curves.summary(item), 3))
        line = ' '.join(f'{curves.summary(item):.3f}' for item in AP_ITEMS)
        MMLogger.get_current_instance().info(f'{metric}_mAP_copypaste: {line}')
        return values

    def _report_classes(self, metric: str, curves: Curves) -> dict[str, float]:
        """Log a table of AP with one class per line, and return ``NAME_precision`` of each."""
        table, values = [CLASS_TABLE], {}
        places = {category: place for place, category in enumerate(sorted(self.cat_ids))}
        for category in self._coco_api.load_cats(self.cat_ids):
            place = places[category['id']]
            measured = [curves.of_category(item, place) for item in AP_ITEMS]
            measured = [float(np.round(ap, 3)) if ap > -1 else float('nan') for ap in measured]
            values[f'{category["name"]}_precision'] = measured[0]
            table.append([category['name'], *(f'{ap:.3f}' for ap in measured)])
        logger = MMLogger.get_current_instance()
        logger.info(f'{metric} of each class\n{AsciiTable(table).table}')
        return values

    def _recall_of_proposals(self, predictions: list[dict]) -> dict[str, float]:
        proposals = {prediction['img_id']: prediction['bboxes'] for prediction in predictions}
        pairs = [
            (boxes_to_find(self._coco_api.imgToAnns[image]), proposals.get(image, NO_BOXES))
            for image in self.img_ids
        ]
        recalls = mean_recalls(pairs, self.proposal_nums, self.iou_thrs)
        values = {f'AR@{n}': float(recall) for n, recall in zip(self.proposal_nums, recalls)}
        line = ' '.join(f'{name} {value:.4f}' for name, value in values.items())
        MMLogger.get_current_instance().info(f'proposal_fast: {line}')
        return values


def _with_encoded_masks(sample: dict) -> dict:
    found = sample['pred_instances']
    if not isinstance(found.get('masks'), torch.Tensor):  # no masks, or RLE already
        return sample
    return {**sample, 'pred_instances': {**found, 'masks': encode_masks(found['masks'])}}


def _add_masks(rows: list[dict], masks: Sequence[dict]) -> None:
    if len(masks) != len(rows):
        raise ArgumentError(
            f'segm: expected a mask for each of {len(rows)} detections, got {len(masks)}; '
            "evaluate metric='bbox', or test a model with a mask head"
        )
    for row, mask in zip(rows, masks):
        counts = mask['counts']
        if isinstance(counts, bytes):  # json has no bytes
            counts = counts.decode()
        row['segmentation'] = {**mask, 'counts': counts}


def _check_annotations(annotations: list[dict], cat_ids: list[int], metric: str) -> None:
    """Raise if pycocotools would raise KeyError; faster-coco-eval would use a zero instead."""
    for annotation in annotations:
        if annotation['category_id'] not in cat_ids:
            continue
        if 'area' not in annotation or (metric == 'segm' and not annotation.get('segmentation')):
            missing = 'a segmentation' if 'area' in annotation else 'an area'
            raise ArgumentError(
                f'ann_file: expected {missing} in annotation {annotation["id"]}, got none; '
                f'complete the file or leave {metric!r} out of the metrics'
            )
