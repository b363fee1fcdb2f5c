import subprocess
import sys

import pytest

from mmconvnext.errors import MissingOperatorError
from mmconvnext.ops import extension


def test_mmdet_and_mmseg_import_without_the_extension() -> None:
    import mmcv.ops
    import mmdet.models
    import mmseg.models

    assert mmcv.ops.RoIAlign is not None
    assert mmdet.models is not None
    assert mmseg.models is not None


@pytest.mark.skipif(extension.is_compiled(), reason='this mmcv has its operators')
def test_a_missing_operator_is_named_with_the_remedy() -> None:
    import torch
    from mmcv.ops import nms_rotated

    with pytest.raises(MissingOperatorError, match=r'nms_rotated. is not implemented .* pip'):
        nms_rotated(torch.zeros(1, 5), torch.zeros(1), 0.5)


@pytest.mark.skipif(extension.is_compiled(), reason='this mmcv has its operators')
def test_operators_are_served_by_mmcv_s_names() -> None:
    import torch
    from mmcv.ops import batched_nms, soft_nms

    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]])
    scores, labels = torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 1])
    dets, kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5))
    assert kept.tolist() == [1, 2]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.5])
    dets, kept = soft_nms(boxes, scores, 0.5, min_score=0.01, method='gaussian')
    assert kept.tolist() == [1, 2]
    assert dets[0, 4] == pytest.approx(0.9)


def test_stand_in_refuses_dunder_names_and_has_a_spec() -> None:
    stand_in = extension.StandIn(extension.NAME)
    assert callable(stand_in.roi_align_forward)
    with pytest.raises(AttributeError, match='__wrapped__'):
        _ = stand_in.__wrapped__
    extension.install()
    finders = [f for f in sys.meta_path if isinstance(f, extension._StandInFinder)]
    assert len(finders) == 1
    assert finders[0].find_spec('mmcv._ext').name == 'mmcv._ext'
    assert finders[0].find_spec('mmcv.other') is None


def test_a_compiled_extension_goes_first(tmp_path) -> None:
    # A module file stands for the compiled one: what the ordinary import system finds wins.
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_ext.py').write_text('compiled = True\n')
    code = (
        'from mmconvnext.ops import extension; extension.install();'
        'import mmcv._ext; assert mmcv._ext.compiled; assert extension.is_compiled()'
    )
    subprocess.run([sys.executable, '-c', code], env={'PYTHONPATH': str(tmp_path)}, check=True)


COMPILED = """
calls = []
def roi_align_forward(input, *args, **kwargs):
    assert input.is_contiguous()
    calls.append('forward')
def roi_align_backward(*args, **kwargs): calls.append('backward')
"""
ALIGN = """
import torch
from mmconvnext.ops import extension
extension.install()
extension.install()
import mmcv._ext as ext
options = dict(aligned_height=2, aligned_width=2, spatial_scale=1.0, sampling_ratio=0, pool_mode=1,
               aligned=True)
for channels in (1, 32):
    input = torch.ones(1, channels, 8, 8).to(memory_format=torch.channels_last)
    rois = torch.tensor([[0.0, 1, 1, 5, 5]])
    output, nothing = torch.zeros(1, channels, 2, 2), torch.zeros(0)
    ext.roi_align_forward(input, rois, output, nothing, nothing, **options)
    ext.roi_align_backward(output, rois, nothing, nothing, torch.zeros_like(input), **options)
print(*ext.calls, float(output.sum()))
"""


@pytest.mark.parametrize(
    ('choice', 'expected'),
    [
        ('auto', '128.0'),
        ('compiled', 'forward backward forward backward 0.0'),
    ],
)
def test_roi_align_on_a_cpu_is_ours_unless_asked(tmp_path, choice: str, expected: str) -> None:
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_ext.py').write_text(COMPILED)
    environment = {'PYTHONPATH': str(tmp_path), 'MMCONVNEXT_ROI_ALIGN': choice}
    result = subprocess.run(
        [sys.executable, '-c', ALIGN], env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == expected.split()
