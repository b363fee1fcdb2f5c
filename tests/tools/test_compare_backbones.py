"""tools/compare_backbones.py in a process of its own, as a person runs it."""

import json
import re

import pytest

TOOL = 'tools/compare_backbones.py'


def test_measures_and_writes(run_tool, tmp_path) -> None:
    file, out = tmp_path / 'new' / 'numbers.json', tmp_path / 'out'
    result = run_tool(
        *(TOOL, '--models', 'upernet', '--families', 'swin', '--sizes', 'T', 'T'),
        *('--infer', '--quick', '--rounds', 1, '--image-size', '64x96'),
        *('--json', file, '--out', out),
        OMP_NUM_THREADS='1',
    )
    assert result.returncode == 0, result.stderr
    assert 'Warning' not in result.stderr
    content = json.loads(file.read_text())
    assert content['machine']['threads'] >= 1
    assert content['machine']['command'].startswith(f'python {TOOL} --models upernet')
    assert content['measured_pictures'] == {'upernet': {'inference': '1 × 64 × 96'}}
    assert [*content['imagenet']] == ['Swin-T']
    (row,) = content['rows']
    (speed,) = row['measured'].values()
    assert speed['pictures_per_second']['median'] > 0
    assert speed['peak_bytes'] > 2**20
    assert re.search(r'Swin-T .* 45\.81 / 44\.51 .* 60 / 945 .* 59\.94 / 944\.4', result.stdout)
    assert 'Measured: inference 1 × 64 × 96' in result.stdout
    assert (out / 'comparison.png').read_bytes().startswith(b'\x89PNG')


def test_counts_alone(run_tool, tmp_path) -> None:
    result = run_tool(TOOL, '--no-bench', '--models', 'mask_rcnn', '--out', tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''
    assert '┃ measured here' not in result.stdout
    assert 'Measured:' not in result.stdout
    assert re.search(r'ResNet-50 .* 40\.9 / 37\.1 .* 44\.40 / 259\.3', result.stdout)
    assert (tmp_path / 'comparison.png').is_file()
    rows = json.loads((tmp_path / 'comparison.json').read_text())['rows']
    assert [row['backbone'] for row in rows] == ['ConvNeXt-T', 'Swin-T', 'ResNet-50']
    assert all(row['measured'] == {} for row in rows)


@pytest.mark.parametrize(
    ('arguments', 'code', 'parts'),
    [
        (('--sizes', 'XL'), 2, ('--sizes', "invalid choice: 'XL'")),
        (('--image-size', '32'), 2, ('--image-size', 'at least 64', 'got 32')),
        (('--batch', '1', '--train'), 1, ('--batch: expected 2 or more',)),
        (('--sizes', 'L', '--families', 'resnet'), 1, ('sizes T, S and B', 'got L')),
        (('--out', 'setup.cfg'), 1, ('--out: setup.cfg: expected a folder',)),
        (('--device', 'cuda:99'), 1, ('--device: expected cpu or an existing GPU', 'cuda:99')),
    ],
)
def test_wrong_arguments_are_told_in_one_line(run_tool, arguments, code, parts) -> None:
    result = run_tool(TOOL, *arguments)
    assert result.returncode == code, result.stderr
    last = result.stderr.splitlines()[-1]
    assert 'error: ' in last
    assert all(part in last for part in parts), last
    assert 'Traceback' not in result.stderr
