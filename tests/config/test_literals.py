"""Configs in files that may be anybody's."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import mmengine.config
import pytest
from hypothesis import given, settings
from mmengine.registry import MODELS, TASK_UTILS, TRANSFORMS, DefaultScope

from mmconvnext.config.allowed_types import ALLOWED
from mmconvnext.config.config_file import Config, read_config
from mmconvnext.config.literal_source import LiteralError, read_literals
from mmconvnext.config.literals import read_literal_config
from mmconvnext.errors import CheckpointError
from tests.config.foreign import NAMES, configs
from tests.conftest import CONFIGS

MODEL = "model = dict(type='EncoderDecoder')\n"
RUN = "__import__('os').system('touch ran')"


def without_files(value: object) -> object:
    """What is to be left of an entry of the configs here."""
    if isinstance(value, dict):
        dropped = ('init_cfg', 'backend_args')
        return {k: without_files(item) for k, item in value.items() if k not in dropped}
    return [without_files(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_takes_every_config_here(path: Path) -> None:
    config = read_config(path)
    read = read_literal_config(config.pretty_text, 'a.pth')
    for name in ('model', 'data_preprocessor', 'tta_model', 'tta_pipeline', 'default_scope'):
        assert read.get(name) == without_files(config.to_dict().get(name))
    dataset = config.test_dataloader.dataset.to_dict()
    assert read.test_dataloader.dataset.pipeline == without_files(dataset['pipeline'])
    assert 'type' not in read.test_dataloader.dataset
    others = {'model', 'tta_model', 'tta_pipeline', 'default_scope', 'test_dataloader'}
    assert read.keys() <= others


@pytest.mark.parametrize('name', ['upernet', 'mask_rcnn'])
def test_takes_what_mmengine_writes_and_builds_the_same(name: str) -> None:
    config = mmengine.config.Config.fromfile(CONFIGS / f'{name}_convnext_atto_samples.py')
    read = read_literal_config(config.pretty_text, 'a.pth')
    with DefaultScope.overwrite_default_scope(read.default_scope):
        expected, model = MODELS.build(config.model), MODELS.build(read.model)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (expected, model)]
    assert shapes[0] == shapes[1]


def test_what_names_files_is_dropped_and_names_of_classes_stay() -> None:
    classes = ['/etc/passwd', '..', '~x', 'https://x', *NAMES]
    config = Config(
        dict(
            custom_imports=dict(imports=['os']),
            load_from='/x.pth',
            resume=True,
            work_dir='/x',
            custom_hooks=[dict(type='os.system')],
            tta_model='/x',
            tta_pipeline=dict(type='os.system'),
            model=dict(
                type='mmseg.EncoderDecoder',
                pretrained='torchvision://resnet50',
                init_cfg=dict(type='Pretrained', checkpoint='evil.pth'),
                backbone=dict(type='RegNet', arch='regnetx_3.2gf', checkpoint='evil.pth'),
                decode_head=dict(
                    type='FCNHead',
                    loss_decode=[
                        dict(type='CrossEntropyLoss', class_weight='weights'),
                        dict(type='CrossEntropyLoss', class_weight=[1.0, 0.5]),
                    ],
                    a='/etc',
                    b='../x',
                    c='~/x',
                    d='C:\\x',
                    e='file:x',
                    f='x.pkl',
                    g='os.system',
                    h=['bilinear', 'x/y', dict(path='x/y', mode='nearest')],
                    i=('~',),
                ),
            ),
            test_dataloader=dict(
                num_workers=4,
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(
                        type='os.system',
                        ann_file='evil.pkl',
                        data_root='/x',
                        reduce_zero_label=True,
                        metainfo=dict(classes=classes, palette=[[1, 2, 3]], more='evil.txt'),
                        pipeline=[
                            dict(
                                type='LoadImageFromFile',
                                file_client_args=dict(backend='memcached', sys_path='/x'),
                                backend_args=dict(backend='memcached', sys_path='/x'),
                            )
                        ],
                    ),
                ),
            ),
        )
    )
    losses = [dict(type='CrossEntropyLoss'), dict(type='CrossEntropyLoss', class_weight=[1.0, 0.5])]
    assert read_literal_config(config.pretty_text, 'a.pth') == dict(
        model=dict(
            type='mmseg.EncoderDecoder',
            backbone=dict(type='RegNet', arch='regnetx_3.2gf'),
            decode_head=dict(
                type='FCNHead', loss_decode=losses, h=['bilinear', dict(mode='nearest')], i=()
            ),
        ),
        test_dataloader=dict(
            dataset=dict(
                pipeline=[dict(type='LoadImageFromFile')],
                reduce_zero_label=True,
                metainfo=dict(classes=classes, palette=[[1, 2, 3]]),
            )
        ),
    )


@pytest.mark.parametrize('metainfo', ["'x.txt'", "dict(classes='x.txt', palette='random')", '[1]'])
def test_classes_that_are_a_file_are_dropped(metainfo: str) -> None:
    text = f'{MODEL}test_dataloader = dict(dataset=dict(metainfo={metainfo}))\n'
    assert read_literal_config(text, 'a.pth').test_dataloader.dataset.metainfo == {}


TYPES = [
    "'subprocess.Popen'",
    "'os.system'",
    "'mmengine.fileio.load'",
    "'mmseg.os.system'",
    "'mmseg.models.EncoderDecoder'",
    "'torch.nn.Conv2d'",
    "'builtins.eval'",
    "'os.EncoderDecoder'",
    "'.EncoderDecoder'",
    "'EncoderDecoder.'",
    "'mmseg.EncoderDecoder\\n'",
    "' EncoderDecoder'",
    "'Encоder' 'Decoder'",  # a Cyrillic letter
    "'ＥncoderDecoder'",
    "'TIMMBackbone'",
    "'mmseg.VPD'",
    "'BertModel'",
    "'Albu'",
    "'CameraMotionCompensation'",
    "'mmpretrain.ConvNeXt'",
    "['EncoderDecoder']",
    "('EncoderDecoder',)",
    "dict(type='EncoderDecoder')",
    "''",
    'None',
    '1',
    f'"{RUN}"',
]
PLACES = [
    'model = dict(type={})',
    "model = dict(type='MaskRCNN', test_cfg=dict(rcnn=dict(nms=dict(type={}))))",
    "model = dict(type='MaskRCNN', norm_cfg=dict(type={}), a=[[(1, dict(type={}))]])",
    MODEL + 'tta_pipeline = [dict(type={})]',
    MODEL + 'tta_model = dict(module=dict(type={}))',
    MODEL + 'data_preprocessor = dict(type={})',
    MODEL + 'test_dataloader = dict(dataset=dict(pipeline=[dict(type={})]))',
]


@pytest.mark.parametrize('kind', TYPES)
def test_no_other_type_is_taken_wherever_it_stands(kind: str, tmp_path: Path, monkeypatch) -> None:
    for place in PLACES:
        refuse(place.replace('{}', kind), 'expected a type on the list', tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('import os', r'got something else \(Import\)'),
        ('from os import system', r'\(ImportFrom\)'),
        ("_base_ = ['/etc/x.py']", 'expected a model, got none'),
        (RUN, r'\(Expr\)'),
        ('"""a docstring"""', r'\(Expr\)'),
        (f'model = {RUN}', r'\(Call\)'),
        (f'a = {RUN}', r'\(Call\)'),
        (f'model = dict(a={RUN})', r'\(Call\)'),
        (f'model = dict([("a", {RUN})])', r'\(Call\)'),
        (f'model = dict(**{RUN})', r'names as keys, .*\(Call\)'),
        (f'model = dict(*{RUN})', r'\(Call\)'),
        (f'model = {{**{RUN}}}', r'names as keys'),
        (f'model = {{{RUN}: 1}}', r'names as keys'),
        (f'model = [*{RUN}]', r'\(Starred\)'),
        (f'model = dict(a=[x for x in {RUN}])', r'\(ListComp\)'),
        (f'model = lambda: {RUN}', r'\(Lambda\)'),
        (f'model = f"{{{RUN}}}"', r'\(JoinedStr\)'),
        (f'model: {RUN} = dict()', r'\(AnnAssign\)'),
        ('(model, a) = 1, 2', r'\(Assign\)'),
        (f'model[{RUN}] = 1', r'\(Assign\)'),
        ('model = dict(a=1)\nmodel.a = 2', r'line 2: .*\(Assign\)'),
        (f'class model(metaclass={RUN}): pass', r'\(ClassDef\)'),
        (f'@{RUN}\ndef model(): pass', r'\(FunctionDef\)'),
        (f'if {RUN}: model = 1', r'\(If\)'),
        (f'model = (x := {RUN})', r'\(NamedExpr\)'),
        ('model = other', r'\(Name\)'),
        ('model = {{ _base_.model }}', r'\(Set\)'),
        ("model = dict(a={{'$A:1'}})", r'\(Set\)'),
        ("model = {{$A:dict(type='x')}}", 'not Python'),
        ("globals().update({'model': 1})", r'\(Expr\)'),
        ("model = float('1' * 9)", r'\(Call\)'),
        ("model = float('1e9')", r'\(Call\)'),
        ('model = dict(a=2 ** 9 ** 9 ** 9)', r'\(BinOp\)'),
        ("model = dict(a=b'x')", r'\(Constant\)'),
        ('model = dict(a=1j)', r'\(Constant\)'),
        ('model = dict(a=...)', r'\(Constant\)'),
        (f'model = dict(a=0x{"f" * 17})', 'integers of at most 64 bits'),
        (f'model = dict(a={"9" * 5000})', 'not Python'),
        ("model = {1: 'a'}", 'names as keys'),
        ("model = {'__class__': 'a'}", 'names as keys'),
        ('model = dict(__class__=1)', 'names as keys'),
        ("model = {b'type': 'a'}", 'names as keys'),
        ("model = {'a b': 1}", 'names of options'),
        ("model = {'тype': 'os.system'}", 'names of options'),
        ('model = dict(_delete_=True)', 'names of options'),
        ("model = dict(_base_='x')", 'names of options'),
        ("model = dict(type='EncoderDecoder', _scope_='os')", 'one of mmconvnext, mmseg'),
        ("model = dict(_scope_=['mmseg'])", 'one of mmconvnext, mmseg'),
        (MODEL + "default_scope = 'os'", 'default_scope: expected one of'),
        ('model = 1', 'expected a model, got none'),
        ('', 'expected a model, got none'),
        ('model = ' + '[' * 60 + ']' * 60, 'at most 40 nested'),
        ('model = ' + '(' * 5000 + ')' * 5000, 'not Python'),
        ('model = ' + '-' * 100_000 + '1', 'not Python'),
        ('model = 1' + '+1' * 100_000, 'not Python'),
        ('model = x' + '.a' * 100_000, 'not Python'),
        ('a' * 1_000_001, 'expected at most 1,000,000 characters'),
        ('model = (', 'not Python'),
        ('model = "\\d\0"', 'not Python'),
        ('model = "\ud800"', 'not Python'),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_nothing_but_literals_is_taken(text: str, told: str, tmp_path: Path, monkeypatch) -> None:
    refuse(text, told, tmp_path, monkeypatch)


def refuse(text: str, told: str, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv('A', 'dict(type="EncoderDecoder")')
    before = {*sys.modules}
    with pytest.raises(CheckpointError, match=told) as caught:
        read_literal_config(text, 'a.pth')
    message = str(caught.value)
    assert message.startswith('a.pth: its config cannot be used as data: ')
    assert message.isprintable()
    assert len(message) < 600
    assert {*sys.modules} == before
    assert list(folder.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(configs())
def test_text_of_a_config_gives_its_values_or_a_refusal(entries: dict) -> None:
    try:
        read = read_literals(Config(entries).pretty_text)
    except LiteralError:  # of keys that are no strings, integers of more than 64 bits
        return
    assert read == entries


def test_infinities_and_last_assignments() -> None:
    text = "a = 1\na = dict({'b': float('-inf')}, )\nb = {'c': (-1, +1)[0:0]}"
    with pytest.raises(LiteralError, match=r'line 3: expected literals'):
        read_literals(text)
    assert read_literals(text.rpartition('\n')[0]) == {'a': {'b': float('-inf')}}


def classes_of(name: str) -> list[type]:
    found = []
    for root in (MODELS, TRANSFORMS, TASK_UTILS):
        for registry in (root, *root.children.values()):
            registry.import_from_location()
            found += [registry.module_dict[name]] if name in registry.module_dict else []
    return found


# What of their constructors opens files, evaluates strings, imports, or looks up any name.
DANGEROUS = re.compile(
    r'\b(eval|exec|open|import_module|__import__|load_checkpoint|load|from_pretrained|'
    r'create_model|list_from_file|get_object_from_string)\('
)


def test_allowed_types_are_classes_whose_constructors_do_nothing_else() -> None:
    for package in ('mmdet.models', 'mmseg.models', 'mmconvnext.segmentation'):
        importlib.import_module(package)
    classes = {name: classes_of(name) for name in ALLOWED}
    unknown = {name for name, found in classes.items() if not found}
    assert unknown == {'nms', 'soft_nms', 'RoIAlign', 'RoIPool'}
    bases = {base for found in classes.values() for kind in found for base in kind.__mro__}
    own = [b for b in bases if b.__module__.startswith('mm') and '__init__' in vars(b)]
    assert len(own) > 300
    dangerous = [b for b in own if DANGEROUS.search(inspect.getsource(b.__init__))]
    assert dangerous == []


@pytest.mark.parametrize('name', ['TIMMBackbone', 'Albu', 'BertModel', 'VPD', 'DetectoRS_ResNet'])
def test_dangerous_types_are_not_allowed(name: str) -> None:
    assert classes_of(name)
    assert name not in ALLOWED
