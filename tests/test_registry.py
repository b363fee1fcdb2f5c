import pytest
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope, Registry

import mmconvnext
from mmconvnext.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    TRANSFORMS,
)


@pytest.mark.parametrize('scope', ['mmengine', 'mmseg', 'mmdet', 'mmconvnext'])
def test_builds_from_every_scope(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        backbone = ROOT_MODELS.build(dict(type='mmconvnext.ConvNeXt', arch='atto'))
    assert isinstance(backbone, mmconvnext.ConvNeXt)


def test_builds_from_mmdet_s_and_mmseg_s_registries() -> None:
    import mmdet.registry
    import mmseg.registry

    for module in (mmdet.registry, mmseg.registry):
        built = module.MODELS.build(dict(type='mmconvnext.ConvNeXt', arch='atto'))
        assert isinstance(built, mmconvnext.ConvNeXt)


@pytest.mark.parametrize(
    'registry', [MODELS, HOOKS, OPTIM_WRAPPER_CONSTRUCTORS, METRICS, DATASETS, TRANSFORMS]
)
def test_takes_no_name_in_the_root(registry: Registry) -> None:
    registry.import_from_location()
    assert registry.scope == 'mmconvnext'
    ours = set(registry.module_dict)
    assert ours
    assert not any(
        getattr(registry.parent.module_dict.get(name), '__module__', '').startswith('mmconvnext')
        for name in ours
    )


def test_a_study_s_network_is_found_without_importing_the_study() -> None:
    assert mmconvnext.RoadmapNet is MODELS.get('RoadmapNet')
    with pytest.raises(AttributeError, match="'mmconvnext' has no attribute 'nothing'"):
        mmconvnext.nothing  # noqa: B018
