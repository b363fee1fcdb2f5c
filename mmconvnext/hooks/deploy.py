"""Tests a model in its deploy form."""

from mmengine.hooks import Hook

from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class DeployHook(Hook):
    """Puts all that has a deploy form into it for the test, and back afterwards.

    The parts are those with ``switch_to_deploy`` and ``switch_back``, as
    :class:`~mmconvnext.backbones.ConvNeXt`. Training and validation are left alone.
    """

    def before_test(self, runner) -> None:
        self._deployed = [
            module
            for module in runner.model.modules()
            if hasattr(module, 'switch_to_deploy') and hasattr(module, 'switch_back')
        ]
        for module in self._deployed:
            module.switch_to_deploy()

    def after_test(self, runner) -> None:
        for module in self._deployed:
            module.switch_back()
