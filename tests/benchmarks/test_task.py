import torch
from torch import nn

from benchmarks.task import randomise_vectors


def test_randomised_vectors_leave_no_norm_at_one() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    weight = model[0].weight.clone()
    randomise_vectors(model)
    assert (model[1].weight != 1).all()
    assert (model[1].bias != 0).all()
    assert torch.equal(model[0].weight, weight)
