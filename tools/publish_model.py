"""Write a checkpoint's weights for publication: without optimizer, with classes and config.

The file's name contains its SHA-256, so that downloads are checked. tools/test.py and
tools/infer.py load it like a training checkpoint.

Example:
    python tools/publish_model.py work_dirs/upernet/iter_160000.pth published/upernet_convnext_t.pth
    python tools/publish_model.py iter_160000.pth upernet_convnext_t.safetensors --ema
"""

import argparse
import json
from typing import Any

import mmconvnext  # noqa: F401  (lets torch read what mmengine writes)
from mmconvnext.checkpoints.meta import described
from mmconvnext.checkpoints.publish import Publication, publish
from mmconvnext.command_line import options
from mmconvnext.errors import one_line_errors
from mmconvnext.inference.model import require_config_fits


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='file, URL or hf://OWNER/REPOSITORY/FILE')
    parser.add_argument('out', help='NAME.pth or NAME.safetensors; the hash is added to NAME')
    parser.add_argument('--config', help="config to store instead of the checkpoint's own")
    parser.add_argument(
        '--ema',
        action='store_true',
        help="require averaged weights; EMAHook's are always used, also without this option",
    )
    parser.add_argument('--force', action='store_true', help='replace a broken file of that name')
    parser.add_argument('--json', action='store_true', help='print only JSON')
    return parser.parse_args()


def describe(published: Publication) -> dict[str, Any]:
    said: dict[str, Any] = described(published.meta)
    return {
        'path': str(published.path),
        'bytes': published.path.stat().st_size,
        'bytes_before': published.before,
        'tensors': published.tensors,
        'averaged': published.averaged,
        'classes': len(said.get('classes', ())),
        'config': 'cfg' in said,
    }


def main() -> None:
    arguments = parse_arguments()
    if arguments.config:
        require_config_fits(options.load_config(arguments), arguments.checkpoint)
    told = describe(
        publish(
            arguments.checkpoint,
            arguments.out,
            config=arguments.config,
            ema=arguments.ema,
            force=arguments.force,
        )
    )
    if arguments.json:
        print(json.dumps(told, indent=2))
        return
    kind = 'averaged weights' if told['averaged'] else 'weights'
    print(
        f'{told["path"]}: {told["bytes"] / 1e6:.1f} MB of {told["bytes_before"] / 1e6:.1f} MB, '
        f'{told["tensors"]} tensors ({kind}), {told["classes"] or "no"} classes, '
        f'{"with its config" if told["config"] else "no config (--config adds one)"}'
    )


if __name__ == '__main__':
    with one_line_errors():
        main()
