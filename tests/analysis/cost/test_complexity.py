import torch
from torch import nn

from mmconvnext.analysis.cost.complexity import count_macs, count_parameters


def test_counts_convolutions_and_linear_layers_alone() -> None:
    with torch.device('meta'):
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, groups=1),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
            nn.Flatten(),
            nn.Linear(8 * 5 * 5, 7),
        ).eval()
        macs = count_macs(model, torch.empty(2, 3, 10, 10))
    assert macs == 2 * (3 * 8 * 9 * 100 + 8 * 9 * 25 + 200 * 7)
    assert count_parameters(model) == (3 * 8 * 9 + 8) + 16 + (8 * 9 + 8) + (200 * 7 + 7)
