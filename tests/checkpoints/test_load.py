import logging
import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from safetensors.torch import save

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.convert import from_official
from mmconvnext.checkpoints.description import _announce, announce_licence
from mmconvnext.checkpoints.formats import HF
from mmconvnext.checkpoints.load import load
from mmconvnext.checkpoints.pretrained import PRETRAINED
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError

NEW = ['norm0.', 'norm1.', 'norm2.', 'norm3.']


class RunsCode:
    """Pickled, it would make a folder on loading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def official_state(backbone: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the official classifier of this size stores: no norm0–3, but a norm and a head."""
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith('norm')}
    width = backbone.channels[-1]
    head = {'head.weight': torch.zeros(1000, width), 'head.bias': torch.zeros(1000)}
    return {**state, 'norm.weight': torch.ones(width), 'norm.bias': torch.zeros(width), **head}


@pytest.fixture
def trained(small_backbone):
    backbone = small_backbone()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter)
    return backbone


def pretrained(path: Path, **options: object) -> dict:
    return dict(type='Pretrained', checkpoint=str(path), **options)


@pytest.mark.parametrize('wrap', [lambda s: {'model': s}, lambda s: s], ids=['model', 'bare'])
def test_official_file_loads_completely(small_backbone, trained, tmp_path, wrap, caplog) -> None:
    torch.save(wrap(official_state(trained)), tmp_path / 'a.pth')
    backbone = small_backbone(init_cfg=pretrained(tmp_path / 'a.pth'))
    with caplog.at_level(logging.INFO):
        backbone.init_weights()
    for name, parameter in backbone.named_parameters():
        if name.startswith('norm'):
            assert torch.equal(parameter, torch.full_like(parameter, float('weight' in name)))
        else:
            assert torch.equal(parameter, trained.get_parameter(name)), name


def test_report_counts_everything(small_backbone, trained, tmp_path) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    backbone = small_backbone()
    report = load(backbone, str(tmp_path / 'a.pth'), new=NEW, unused=['norm.', 'head.'])
    assert len(report.loaded) == len(backbone.state_dict()) - 8
    assert len(report.new) == 8
    assert len(report.unused) == 4
    assert str(report) == (
        f'Loaded {len(report.loaded)} tensors (CRC-32 {report.checksum}) from '
        f"{tmp_path / 'a.pth'} (official, 'model'; depths 1-1-2-1, channels 8-16-24-32); "
        'new: norm0, norm1, norm2, norm3; left aside: norm, head'
    )
    again = load(small_backbone(), str(tmp_path / 'a.pth'), new=NEW, unused=['h', 'n'])
    assert again.checksum == report.checksum


def test_our_own_checkpoint_loads_with_its_norms(small_backbone, trained, tmp_path) -> None:
    state = {f'backbone.{k}': v for k, v in trained.state_dict().items()}
    state['decode_head.conv_seg.weight'] = torch.zeros(1)
    torch.save({'state_dict': state, 'meta': {'iter': 3}}, tmp_path / 'iter_3.pth')
    for options in ({}, {'prefix': 'backbone.'}):
        backbone = small_backbone(init_cfg=pretrained(tmp_path / 'iter_3.pth', **options))
        backbone.init_weights()
        for a, b in zip(backbone.parameters(), trained.parameters()):
            assert torch.equal(a, b)


def test_v2_grn_is_reshaped(small_backbone, tmp_path) -> None:
    v2 = small_backbone(use_grn=True)
    for parameter in v2.parameters():
        torch.nn.init.normal_(parameter)
    state = official_state(v2)
    for key in [key for key in state if '.grn.' in key]:
        state[key] = state[key].reshape(1, 1, 1, -1)
    torch.save({'model': state}, tmp_path / 'v2.pt')
    backbone = small_backbone(use_grn=True, init_cfg=pretrained(tmp_path / 'v2.pt'))
    backbone.init_weights()
    assert torch.equal(backbone.stages[0][0].grn.gamma, v2.stages[0][0].grn.gamma)


def test_unbuilt_stages_are_left_aside(small_backbone, trained, tmp_path) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    backbone = small_backbone(out_indices=(1,), init_cfg=pretrained(tmp_path / 'a.pth'))
    backbone.init_weights()
    assert torch.equal(backbone.stages[1][0].gamma, trained.stages[1][0].gamma)


def test_weights_survive_the_whole_model_s_init_weights(small_backbone, trained, tmp_path) -> None:
    class Model(BaseModel):
        def __init__(self, backbone):
            super().__init__(init_cfg=dict(type='Constant', layer='Conv2d', val=3.0))
            self.backbone = backbone

        def forward(self, inputs):
            return self.backbone(inputs)

    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    model = Model(small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')))
    model.init_weights()
    model.init_weights()
    stem = model.backbone.downsample_layers[0][0].weight
    assert torch.equal(stem, trained.downsample_layers[0][0].weight)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('stages.2.0.gamma'), r'1 missing: stages\.2\.0\.gamma'),
        (lambda s: s.update({'extra.weight': torch.ones(1)}), r'1 unexpected: extra\.weight'),
        (
            lambda s: s.update({'stages.0.0.gamma': torch.ones(9)}),
            r'1 of another shape: stages\.0\.0\.gamma \(9,\) for \(8,\)',
        ),
    ],
)
def test_anything_else_raises_and_changes_nothing(
    small_backbone, trained, tmp_path, change, message
) -> None:
    state = official_state(trained)
    change(state)
    torch.save({'model': state}, tmp_path / 'a.pth')
    backbone = small_backbone(init_cfg=pretrained(tmp_path / 'a.pth'))
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        backbone.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_another_size_lists_a_few_and_counts_the_rest(small_backbone, tmp_path) -> None:
    other = small_backbone(arch=dict(depths=(1, 1, 5, 1), channels=(8, 16, 24, 32)))
    torch.save({'model': official_state(other)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'27 unexpected: .*\(22 more\).*size, use_grn'):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


@pytest.mark.parametrize('content', [[1, 2], {'epoch': 3}, {'model': {'a': 1}}])
def test_a_file_without_tensors_raises(small_backbone, tmp_path, content) -> None:
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='expected a dict of tensors'):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_a_wrong_prefix_raises(small_backbone, trained, tmp_path) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"begin with 'encoder\.', found "):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth', prefix='encoder.')).init_weights()


@pytest.mark.parametrize('zipped', [True, False])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / 'made-by-the-checkpoint'
    torch.save(
        {'model': RunsCode(target)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped
    )
    for location in ('cpu', 'meta'):
        with pytest.raises(CheckpointError, match=r'refused, no code in it was run.*mkdir'):
            read_checkpoint(str(tmp_path / 'a.pth'), map_location=location)
    assert not target.exists()


def test_a_truncated_file_is_said_to_be_so(trained, tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    torch.save(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match='not a readable checkpoint'):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (b'<html>404</html>', 'it is a web page'),
        (b'', 'it is empty'),
        (b'weights,\nlater', 'it is a text'),
        (('Gewichte, später ' * 40).encode(), 'it is a text'),
        ('\ufeff<html>404</html>'.encode(), 'it is a web page'),
        (save({'a': torch.ones(1)}), 'it is a .safetensors file under another name'),
        (b'\x1f\x8b\x08 gzip', 'UnpicklingError: '),
        (bytes(64), 'UnpicklingError: '),
    ],
)
def test_a_file_of_another_kind_is_said_to_be_so(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=rf'not a readable checkpoint \({kind}') as caught:
        read_checkpoint(str(tmp_path / 'a.pth'))
    assert '\n' not in str(caught.value)
    assert 'weights_only' not in str(caught.value), "torch's advice to let it run code"


def test_map_location_of_mmengine_is_accepted(small_backbone, trained, tmp_path) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    small_backbone(init_cfg=pretrained(tmp_path / 'a.pth', map_location='cpu')).init_weights()


def test_another_size_is_named_on_both_sides(small_backbone, tmp_path) -> None:
    other = small_backbone(arch=dict(depths=(1, 1, 2, 1), channels=(16, 32, 48, 64)), use_grn=True)
    torch.save({'model': official_state(other)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError) as caught:
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()
    assert "(official, 'model'; depths 1-1-2-1, channels 16-32-48-64, GRN)" in str(caught.value)
    assert 'this backbone (depths 1-1-2-1, channels 8-16-24-32)' in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({}, 'this is the size tiny, the config says small'),
        ({'downsample_layers.0.0.weight': torch.ones(96, 3, 7, 7)}, r"timm's _ols models"),
        ({'stages.0.0.norm.bias': None}, r"timm's _rms models"),
    ],
)
def test_the_likely_cause_is_named(tmp_path, change: dict, message: str) -> None:
    with torch.device('meta'):
        small = ConvNeXt('small')
        state = {k: torch.empty(v.shape) for k, v in ConvNeXt('tiny').state_dict().items()}
    state = {key: value for key, value in {**state, **change}.items() if value is not None}
    state = {key: torch.zeros(value.shape) for key, value in state.items()}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message):
        load(small, str(tmp_path / 'a.pth'))


def test_a_version_that_differs_is_named(small_backbone, tmp_path) -> None:
    torch.save(small_backbone(use_grn=True).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='this is ConvNeXt V2, the config says use_grn=False'):
        load(small_backbone(), str(tmp_path / 'a.pth'))


def test_clip_s_normalisation_is_said(small_backbone, trained, tmp_path) -> None:
    state = {f'visual.trunk.{k}': v for k, v in from_official(trained.state_dict(), HF).items()}
    torch.save({**state, 'logit_scale': torch.ones(())}, tmp_path / 'a.pth')
    report = str(load(small_backbone(), str(tmp_path / 'a.pth')))
    assert "(hf, 'visual.trunk.' of a whole CLIP model; " in report
    assert 'mean=[122.77, 116.75, 104.09]' in report


def test_another_kind_of_model_is_named(small_backbone, tmp_path) -> None:
    state = {'layers.0.blocks.0.attn.relative_position_bias_table': torch.ones(1)}
    torch.save({'model': state}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'of one of the families official, .*look like Swin'):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_data_parallel_s_prefix_is_dropped(small_backbone, trained, tmp_path) -> None:
    state = {f'module.{key}': value for key, value in official_state(trained).items()}
    torch.save({'model': state}, tmp_path / 'a.pth')
    backbone = small_backbone(init_cfg=pretrained(tmp_path / 'a.pth'))
    backbone.init_weights()
    assert torch.equal(backbone.stages[1][0].gamma, trained.stages[1][0].gamma)


@pytest.mark.parametrize('left', ['weight', 'bias'])
def test_half_a_norm_is_not_new(small_backbone, trained, tmp_path, left: str) -> None:
    torch.save({**official_state(trained), f'norm0.{left}': torch.ones(8)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'1 missing: norm0\.'):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_norm3_from_a_classifier_that_has_none(small_backbone, trained, tmp_path) -> None:
    state = {k: v for k, v in official_state(trained).items() if not k.startswith('norm.')}
    torch.save(state, tmp_path / 'a.pth')
    init = pretrained(tmp_path / 'a.pth', norm3='from_classifier')
    with pytest.raises(CheckpointError, match="expected a file with a classifier's norm"):
        small_backbone(init_cfg=init).init_weights()


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('stages.0.0.gamma', torch.ones(8).to_sparse()),
        ('stages.0.0.gamma', torch.ones(8).to(torch.float8_e4m3fn)),
        ('stages.0.0.gamma', torch.ones(8, dtype=torch.complex64)),
        ('stages.0.0.gamma', torch.ones(8, dtype=torch.bool)),
        ('stages.0.0.dwconv.weight', torch.ones(())),
        ('downsample_layers.0.0.weight', torch.ones(8, 0, 4, 4)),
    ],
    ids=['sparse', 'float8', 'complex', 'bool', 'scalar', 'no channel'],
)
def test_strange_tensors(small_backbone, trained, tmp_path, key, value) -> None:
    torch.save({**official_state(trained), key: value}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='expected dense float16, .*, found ' + key):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_training_arguments_beside_the_weights(small_backbone, trained, tmp_path) -> None:
    content = {'model': official_state(trained), 'args': Namespace(lr=1e-3), 3: torch.ones(1)}
    torch.save(content, tmp_path / 'a.pth')
    small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_norm3_from_the_classifier_on_request(small_backbone, trained, tmp_path) -> None:
    state = official_state(trained)
    state['norm.weight'] = torch.full((32,), 7.0)
    torch.save({'model': state}, tmp_path / 'a.pth')
    for policy, value in (('fresh', 1.0), ('from_classifier', 7.0)):
        backbone = small_backbone(init_cfg=pretrained(tmp_path / 'a.pth', norm3=policy))
        backbone.init_weights()
        assert torch.equal(backbone.norm3.weight, torch.full((32,), value))
        assert torch.equal(backbone.norm2.weight, torch.ones(24))


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
@pytest.mark.parametrize('policy', ['repeat', 'mean', 'zero_extra', 'random'])
def test_stem_for_other_numbers_of_channels(
    small_backbone, trained, tmp_path, policy: str, channels: int
) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    backbone = small_backbone(
        in_channels=channels, init_cfg=pretrained(tmp_path / 'a.pth', stem=policy)
    )
    backbone.init_weights()
    theirs = trained.downsample_layers[0][0].weight
    ours = backbone.downsample_layers[0][0].weight
    assert ours.shape == (8, channels, 4, 4)
    if policy == 'repeat':
        expected = torch.stack([theirs[:, i % 3] for i in range(channels)], 1) * 3 / channels
    elif policy == 'mean':
        expected = theirs.mean(1, keepdim=True).expand_as(ours) * 3 / channels
        # A grey image keeps its response.
        torch.testing.assert_close(ours.sum(1), theirs.sum(1))
    elif policy == 'zero_extra':
        expected = torch.cat([theirs, torch.zeros(8, 3, 4, 4)], 1)[:, :channels]
    else:
        assert ours.std() < 0.03
        return
    torch.testing.assert_close(ours, expected)


def test_stem_adaptation_is_said(small_backbone, trained, tmp_path) -> None:
    torch.save({'model': official_state(trained)}, tmp_path / 'a.pth')
    report = load(
        small_backbone(in_channels=4), str(tmp_path / 'a.pth'), new=NEW, unused=['n', 'h']
    )
    assert "stem of 3 channels adapted to 4 by 'repeat'" in str(report)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_numbers_that_are_not_finite(small_backbone, trained, tmp_path, value: float) -> None:
    state = official_state(trained)
    state['stages.1.0.gamma'] = torch.full((16,), value)
    torch.save({'model': state}, tmp_path / 'a.pth')
    backbone = small_backbone(init_cfg=pretrained(tmp_path / 'a.pth'))
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(CheckpointError, match=r'NaN or infinity in 1 tensors: stages\.1\.0\.gamma'):
        backbone.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_licences_are_said_once(small_backbone, tmp_path, capsys) -> None:
    _announce.cache_clear()
    v2 = small_backbone(use_grn=True)
    torch.save({'model': official_state(v2)}, tmp_path / 'v2.pth')
    v1 = small_backbone()
    state = {**official_state(v1), 'norms.3.weight': torch.ones(32), 'norms.3.bias': torch.ones(32)}
    torch.save(state, tmp_path / 'native.pth')
    MMLogger.get_instance('licences', logger_name='licences')
    for _ in range(2):
        for backbone, name in ((v2, 'v2.pth'), (v1, 'native.pth')):
            backbone.init_cfg = pretrained(tmp_path / name)
            backbone._is_init = False
            backbone.init_weights()
    said = capsys.readouterr()
    assert (said.out + said.err).count('CC BY-NC') == 1
    assert (said.out + said.err).count("DINOv3's published weights have a licence") == 1


def test_dinov3_s_licence_is_said_of_timm_s_copies(small_backbone, tmp_path, capsys) -> None:
    _announce.cache_clear()
    path = tmp_path / 'convnext_tiny.dinov3_lvd1689m.pth'
    torch.save(official_state(small_backbone()), path)
    MMLogger.get_instance('copies', logger_name='copies')
    small_backbone(init_cfg=pretrained(path)).init_weights()
    said = capsys.readouterr()
    assert "DINOv3's published weights have a licence" in said.out + said.err


def test_dinov3_s_licence_is_said_of_an_address(capsys) -> None:
    _announce.cache_clear()
    MMLogger.get_instance('addresses', logger_name='addresses')
    announce_licence('timm', [], PRETRAINED['convnext_t_dinov3'].checkpoint)
    announce_licence('timm', [], '/weights/dinov3/convnext_tiny.pth')
    said = capsys.readouterr()
    assert (said.out + said.err).count('the DINOv3 License') == 1


def test_tensors_without_values(small_backbone, trained, tmp_path) -> None:
    meta = {key: value.to('meta') for key, value in official_state(trained).items()}
    torch.save(meta, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'expected dense tensors .* \(without values\)'):
        small_backbone(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(norm3='new'), "expected norm3 of fresh, from_classifier, from_file, got 'new'"),
        (dict(stem='tile'), "expected stem of repeat, mean, zero_extra, random, got 'tile'"),
        (dict(checkpoint=''), "of type 'Pretrained': expected a checkpoint"),
        (dict(strict=False), 'expected checkpoint, prefix, ema, sha256, norm3, stem, got strict'),
    ],
)
def test_unknown_options_of_loading(small_backbone, tmp_path, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        small_backbone(init_cfg={**pretrained(tmp_path / 'a.pth'), **options}).init_weights()
