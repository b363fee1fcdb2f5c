import pytest

from mmconvnext.checkpoints.config_text import without_machine

CONFIG = """\
model = dict(
    # ä comment
    backbone=dict(init_cfg=dict(checkpoint='/home/me/weights/tiny.pth', type='Pretrained')),
    x='ä', y='/data/b c')
work_dir = '/home/me/work_dirs/run'
load_from = dict(
    a=1)
data_root = 'data/ade'
url = 'https://example.org/a.pth'
root, other = r'C:\\data\\coco', '~/coco/'
lr = 1e-4; resume = True
"""
EXPECTED = """\
model = dict(
    # ä comment
    backbone=dict(init_cfg=dict(checkpoint='tiny.pth', type='Pretrained')),
    x='ä', y='b c')
data_root = 'data/ade'
url = 'https://example.org/a.pth'
root, other = 'coco', 'coco'
lr = 1e-4; 
"""  # noqa: W291


def test_paths_and_the_run_go_and_the_rest_stays() -> None:
    cleaned = without_machine(CONFIG)
    assert cleaned == EXPECTED
    compile(cleaned, 'config', 'exec')
    assert without_machine(cleaned) == cleaned


@pytest.mark.parametrize('text', ['a = (', 'no python', '\0'])
def test_no_python(text: str) -> None:
    assert without_machine(text) is None


def test_nothing_is_run(tmp_path) -> None:
    text = f'import os\nos.mkdir({str(tmp_path / "made")!r})\n'
    assert without_machine(text) == "import os\nos.mkdir('made')\n"
    assert not (tmp_path / 'made').exists()
