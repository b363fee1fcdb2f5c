"""A work dir as mmengine writes it, without training."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from prettytable import PrettyTable


def write_start(
    work_dir: Path,
    timestamp: str,
    records: Iterable[Mapping],
    tables: Iterable[Mapping[str, float]] = (),
    end: str = '',
) -> Path:
    """Write the folder of one start; ``tables`` are IoU by class, ``end`` half a last line."""
    folder = work_dir / timestamp
    (folder / 'vis_data').mkdir(parents=True)
    lines = [json.dumps(record) + '\n' for record in records]
    (folder / 'vis_data' / 'scalars.json').write_text(''.join(lines) + end)
    text = '2026/01/01 00:00:00 - mmengine - INFO - a run\n'
    for scores in tables:
        # As mmseg 1.2.2, evaluation/metrics/iou_metric.py.
        table = PrettyTable()
        table.add_column('Class', list(scores))
        table.add_column('IoU', list(scores.values()))
        table.add_column('Acc', [1.0] * len(scores))
        text += f'INFO - per class results:\nINFO - \n{table.get_string()}\nINFO - Iter(val)\n'
    (folder / f'{timestamp}.log').write_text(text)
    return work_dir


def training(iterations: Iterable[int], shift: float = 0.0, per_epoch: int = 0) -> list[dict]:
    """Records of training at these iterations."""
    return [
        {
            **dict(base_lr=0.1, lr=0.1, stem_lr=0.05, loss=1 / i + shift, time=0.1, iter=i, step=i),
            **({'epoch': math.ceil(i / per_epoch)} if per_epoch else {}),
        }
        for i in iterations
    ]
