"""tools/analyze_model.py in a process of its own, as a person runs it."""

import json

import pytest

CONFIG = 'configs/upernet_convnext_t_ade20k.py'


def test_json_has_the_papers_numbers(run_tool) -> None:
    result = run_tool('tools/analyze_model.py', CONFIG, '--json')
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert round(content['gmacs'], 1) == 938.5
    assert round(content['params_m'], 2) == 60.24
    assert (content['height'], content['width']) == (512, 2048)
    parts = content['parts'].values()
    assert sum(part['gmacs'] for part in parts) == pytest.approx(content['gmacs'])
    assert sum(part['params_m'] for part in parts) == pytest.approx(content['params_m'])
    assert content['published']['gmacs'] == 939
    memory = content['kept_for_backward_bytes']
    assert 0 < memory['fast'] < 0.6 * memory['plain']
    assert 'float32' in memory['counted']


def test_prints_a_table(run_tool) -> None:
    config = 'configs/mask_rcnn_convnext_atto_samples.py'
    result = run_tool('tools/analyze_model.py', config, '--shape', 64, 96)
    assert result.returncode == 0, result.stderr
    assert '64 × 96 (height × width)' in result.stdout
    for part in ('backbone stage 4', 'mask_head', 'total', 'Kept for the backward pass of 4 ×'):
        assert part in result.stdout


def test_what_is_wrong_is_one_line(run_tool) -> None:
    result = run_tool('tools/analyze_model.py', CONFIG, '--cfg-options',
                      'model.decode_head.channel=3')  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith('error: model of the config: cannot be built, TypeError')
    assert result.stderr.count('\n') == 1
