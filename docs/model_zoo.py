"""Write docs/model_zoo.md from configs/metafile.yml and mmconvnext/checkpoints/pretrained.py.

Example:
    python docs/model_zoo.py
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmconvnext.checkpoints.pretrained import PRETRAINED  # noqa: E402

PAGE = ROOT / 'docs/model_zoo.md'
# Heading, task, the metrics that are columns.
SECTIONS = (
    ('Semantic segmentation, ADE20K', 'Semantic Segmentation', ('mIoU', 'mIoU(ms+flip)')),
    ('Detection and instance segmentation, COCO', 'Object Detection', ('box AP', 'mask AP')),
    ('Classification, ImageNet-1K', 'Image Classification', ('Top 1 Accuracy',)),
)
LICENCES = {'ConvNeXt': 'MIT', 'ConvNeXt V2': 'CC BY-NC 4.0'}
BEGINNING = """\
# Model zoo

*`docs/model_zoo.py` writes this page from [configs/metafile.yml](../configs/metafile.yml). To
change it, edit the metafile.*

- **Results** are published numbers. None was reproduced here.
- **Weights** are the authors' own files. `tools/test.py` reads them without conversion;
  `tools/reproduce.py` prints our result next to the published result. "–": none were published.
- **Parameters** are counted from the configs, the auxiliary head included.
- **Multiply-accumulates (MACs)** of convolutions and linear layers are counted from the configs,
  at the sizes below.
- **Licence** is the licence of the weights.

| models | MACs counted at |
| --- | --- |
| UperNet | 2048 × 512 (2560 × 640 for crops of 640²) |
| detectors | 1280 × 800, with 1000 proposals and 100 masks |
| classifiers | the resolution of the test |

The V2 paper gives ranges for its dense recipes; our choice is marked "ours" in the configs.
`convnext_xl_in1k` and the V1 classifiers at 384² were pre-trained on ImageNet-22K, the V2
classifiers with FCMAE.
"""
BACKBONES = """\
## Backbones

Load them with `mmconvnext.ConvNeXt.from_pretrained(NAME)`, or with `checkpoint=` in an `init_cfg`
([weights](weights.md)). The names are in
[pretrained.py](../mmconvnext/checkpoints/pretrained.py). `convnext_xl_in1k` was trained on
ImageNet-22K first: its file is that of `convnext_xl_in22k_in1k`.
"""


def page() -> str:
    """Return the page."""
    models = yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())['Models']
    parts = [BEGINNING]
    for heading, task, metrics in SECTIONS:
        rows = [row for model in models if (row := _row(model, task, metrics))]
        columns = (
            'config',
            'weights',
            *metrics,
            'published by',
            'parameters, M',
            'GMACs',
            'licence',
        )
        parts.append(f'## {heading}\n\n{_table(columns, rows)}')
    parts.append(f'{BACKBONES}\n{_table(("name", "file", "licence"), list(_backbones()))}')
    return '\n'.join(parts)


def _row(model: dict, task: str, metrics: tuple[str, ...]) -> list[str] | None:
    results = model.get('Results') or []
    if task not in [result['Task'] for result in results]:
        return None
    values = {name: value for result in results for name, value in result['Metrics'].items()}
    facts = model['Metadata']
    weights = f'[file]({model["Weights"]})' if 'Weights' in model else '–'
    return [
        f'[{model["Name"]}](../{model["Config"]})',
        weights,
        *(str(values.get(name, '–')) for name in metrics),
        facts['Published By'].removesuffix('; not reproduced here'),
        f'{facts["Parameters"] / 1e6:.1f}',
        str(facts['GMACs']),
        LICENCES[model['In Collection']] if 'Weights' in model else '–',
    ]


def _backbones() -> Iterator[list[str]]:
    for name, one in PRETRAINED.items():
        address = one.checkpoint
        if address.startswith('hf://'):
            repository = '/'.join(address.removeprefix('hf://').split('/')[:2])
            address = f'https://huggingface.co/{repository}'
        yield [f'`{name}`', f'[file]({address})', one.licence]


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [columns, ['---'] * len(columns), *rows]
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


if __name__ == '__main__':
    PAGE.write_text(page())
    print(f'written: {PAGE.relative_to(ROOT)}')
