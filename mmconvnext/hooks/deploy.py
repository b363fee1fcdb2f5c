"""Test a model in its deploy form."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class DeployHook(Hook):
    """Switches modules to their deploy form for the test, and back afterwards.

    These are modules with ``switch_to_deploy``, ``switch_back`` and ``is_deployed``, such as
    :class:`~mmconvnext.ConvNeXt`. A module that is already deployed stays deployed.
    Training and validation are not affected.
    """

    # EMAHook swaps parameters before the first iteration and after the test: the model must then be
    # in its training form.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._deployed: list = []

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        if batch_idx > 0:
            return
        for module in runner.model.modules():
            if hasattr(module, 'switch_to_deploy') and not module.is_deployed():
                module.switch_to_deploy()
                self._deployed.append(module)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        while self._deployed:
            self._deployed.pop().switch_back()
