from types import SimpleNamespace

from torch import nn

from mmconvnext.hooks import DeployHook


def test_the_test_alone_runs_in_the_deploy_form(small_backbone) -> None:
    backbone = small_backbone()
    runner = SimpleNamespace(model=nn.ModuleDict({'backbone': backbone, 'head': nn.Linear(2, 2)}))
    before = set(backbone.state_dict())
    hook = DeployHook()
    hook.before_test(runner)
    assert set(backbone.state_dict()) < before
    hook.after_test(runner)
    assert set(backbone.state_dict()) == before
