"""A run of a second's fraction: a linear layer with batch norm, by mmconvnext's Runner."""

import multiprocessing
import warnings
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmconvnext.runner.runner import Runner


class ToyModel(BaseModel):
    """Learns the sum of eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.layer = nn.Linear(8, 1)

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        output = self.layer(self.norm(inputs))
        if mode == 'loss':
            return {'loss_sum': (output[:, 0] - inputs.sum(1)).abs().mean()}
        return [BaseDataElement() for _ in inputs]


class ToyData(torch.utils.data.Dataset):
    """Numbers by their index; those of ``broken`` are NaN."""

    def __init__(self, length: int = 8, broken: tuple[int, ...] = ()) -> None:
        self.metainfo = dict(classes=('sum',))
        self.length, self.broken = length, broken

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        numbers = torch.randn(8, generator=torch.Generator().manual_seed(index))
        if index in self.broken:
            numbers[0] = torch.nan
        return dict(
            inputs=numbers, data_samples=BaseDataElement(metainfo=dict(img_path=f'{index}.png'))
        )


class ToyMetric(BaseMetric):
    """Gives what ``scores`` has for each evaluation in turn."""

    default_prefix = ''

    def __init__(self, scores=(1.0,)) -> None:
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict:
        score = self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]
        return score if isinstance(score, dict) else {'acc': score}


def toy_runner(
    work_dir: Path,
    *,
    iters: int = 4,
    epochs: int | None = None,
    val_interval: int | None = None,
    data: ToyData | None = None,
    checkpoint: dict | None = None,
    scores=(1.0,),
    scheduler: object = None,
    **options: object,
) -> Runner:
    """A runner; ``epochs`` in place of ``iters`` gives a loop over epochs."""
    by_epoch = epochs is not None
    loop = dict(by_epoch=by_epoch, val_interval=val_interval or 10**6)
    loop['max_epochs' if by_epoch else 'max_iters'] = epochs if by_epoch else iters
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    if not by_epoch:
        loader['sampler'] = dict(type='InfiniteSampler', shuffle=False)
    checkpoint = dict(type='CheckpointHook', by_epoch=by_epoch, interval=1) | (checkpoint or {})
    hooks = dict(
        checkpoint=checkpoint,
        logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=by_epoch),
        **options.pop('default_hooks', {}),
    )
    start = multiprocessing.get_start_method(allow_none=True) or 'fork'
    settings = dict(
        env_cfg=dict(mp_cfg=dict(mp_start_method=start)),
        model=options.pop('model', None) or ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(dataset=data or ToyData(), **loader),
        val_dataloader=dict(
            dataset=ToyData(4),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        val_evaluator=[ToyMetric(scores)],
        train_cfg=loop,
        val_cfg=dict(),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        param_scheduler=scheduler,
        default_hooks=hooks,
        log_processor=dict(by_epoch=by_epoch),
        randomness=dict(seed=0),
        experiment_name=f'toy_{work_dir.name}_{id(hooks)}',
        cfg=dict(default_hooks=hooks),
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', "'pkgutil.find_loader'")  # mmengine, on Python 3.12
        return Runner(**settings | options)
