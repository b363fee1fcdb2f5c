"""Stochastic depth under DistributedDataParallel: ranks drop different samples."""

import warnings
from pathlib import Path

import torch
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from mmconvnext.backbones import ConvNeXt

STEPS = 4


def a_backbone() -> ConvNeXt:
    torch.manual_seed(0)
    arch = dict(depths=(1, 2, 1, 1), channels=(8, 8, 8, 8))
    backbone = ConvNeXt(arch, drop_path_rate=0.8, layer_scale_init_value=1.0)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    return backbone.double().train()


def loss(model: nn.Module, rank: int, step: int) -> torch.Tensor:
    torch.manual_seed(10 * step + rank)  # of the image, and of what is dropped
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    return sum(out.square().mean() for out in model(image))


def train(rank: int, folder: str) -> None:
    warnings.simplefilter('error')
    meet = f'file://{folder}/meet'
    distributed.init_process_group('gloo', init_method=meet, rank=rank, world_size=2)
    model = DistributedDataParallel(a_backbone())
    for step in range(STEPS):
        loss(model, rank, step).backward()
    torch.save([p.grad for p in model.parameters()], Path(folder) / f'{rank}.pth')
    distributed.destroy_process_group()


def test_ranks_that_drop_different_samples_agree(tmp_path: Path) -> None:
    spawn(train, args=(str(tmp_path),), nprocs=2)
    alone = a_backbone()
    for step in range(STEPS):
        for rank in range(2):
            (loss(alone, rank, step) / 2).backward()
    ranks = [torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(2)]
    for first, second, parameter in zip(*ranks, alone.parameters(), strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, parameter.grad, rtol=1e-9, atol=1e-12)
