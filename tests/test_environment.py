from mmconvnext import environment
from mmconvnext.ops import extension


def test_describes_versions_operators_and_failures() -> None:
    lines = list(environment.describe())
    text = '\n'.join(lines)
    assert lines[0].startswith('mmconvnext ')
    assert 'mmengine: ' in text
    assert ('mmcv.ops.others: compiled' in lines) is extension.is_compiled()
    for operator in ('nms', 'softnms', 'roi_align'):
        assert f'mmcv.ops.{operator}: ' in text


def test_a_package_that_is_there_but_broken_would_fail(monkeypatch) -> None:
    monkeypatch.setattr(
        environment, '_import_problem', lambda name: 'undefined symbol' if name == 'mmseg' else None
    )
    assert any(
        line.startswith('would fail: mmseg: undefined symbol (segmentation needs it: pip install')
        for line in environment.describe()
    )
