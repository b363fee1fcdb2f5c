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


def test_what_is_left_of_a_path_is_no_template() -> None:
    cleaned = without_machine("root = '/home/me/{{$A:x}}'\n")
    assert cleaned == "root = '\\x7b\\x7b$A:x\\x7d\\x7d'\n"


def test_names_of_classes_are_no_paths() -> None:
    text = "classes = ('/x', '~')\nd = dict(metainfo=dict(classes=['C:\\\\x']), classes='/a/b')\n"
    assert without_machine(text) == text.replace('/a/b', 'b')


def test_keys_are_no_paths() -> None:
    assert without_machine("a = {'x:/': '/home/me/b', **{'/y': 1}}\n") == (
        "a = {'x:/': 'b', **{'/y': 1}}\n"
    )


def test_any_line_breaks_and_parts_of_strings() -> None:
    assert without_machine("a = 1\r\nb = '/x/y'\rc = 2\x0c\r") == "a = 1\nb = 'y'\nc = 2\x0c\n"
    text = "a = f'''/x/{b}\n/y/{c}/z'''\nb = '\\d'\n"
    assert without_machine(text) == text


@pytest.mark.parametrize(
    'text', ['-' * 100_000 + '1', '(' * 9000, 'a = "\ud800"', 'a = ' + '1+' * 99_999]
)
def test_what_python_cannot_read_is_none(text: str) -> None:
    assert without_machine(text) is None
