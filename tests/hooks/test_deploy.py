from types import SimpleNamespace

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmconvnext.hooks import DeployHook


class Model(BaseModel):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.names: list[set[str]] = []

    def forward(self, x: torch.Tensor, mode: str) -> list[torch.Tensor]:
        self.names.append(set(self.backbone.state_dict()))
        return [self.backbone(x)[-1]]


class Sum(BaseMetric):
    def process(self, data_batch: dict, data_samples: list[torch.Tensor]) -> None:
        self.results.append(float(data_samples[0].double().sum()))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'sum': sum(results)}


def test_the_test_alone_runs_in_the_deploy_form(small_backbone, tmp_path) -> None:
    torch.manual_seed(0)
    model = Model(small_backbone())
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    before = set(model.backbone.state_dict())
    metrics = []
    for hooks in ([], [dict(type=DeployHook), dict(type=EMAHook)]):
        with DefaultScope.overwrite_default_scope('mmengine'):
            runner = Runner(
                model,
                work_dir=str(tmp_path),
                test_dataloader=DataLoader([{'x': torch.ones(3, 64, 64)}] * 2),
                test_evaluator=Sum(),
                test_cfg=dict(),
                custom_hooks=hooks,
                experiment_name=f'{tmp_path.name}{len(hooks)}',
            )
            metrics.append(runner.test()['sum'])
    assert model.names[0] == model.names[1] == before
    assert model.names[2] == model.names[3] < before
    assert set(model.backbone.state_dict()) == before
    assert abs(metrics[0] - metrics[1]) <= 1e-4 * abs(metrics[0])


def test_what_was_deployed_before_stays_so(small_backbone) -> None:
    backbone = small_backbone()
    backbone.switch_to_deploy()
    runner = SimpleNamespace(model=nn.ModuleDict({'backbone': backbone}))
    hook = DeployHook()
    hook.before_test_iter(runner, 0)
    hook.after_test_epoch(runner)
    assert backbone.is_deployed()
