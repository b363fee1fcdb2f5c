"""Checkpoints that were made to do harm, or to be taken for what they are not, by name."""

import copy
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

Write = Callable[[dict, Path, Path], Path | None]
FILES: dict[str, Write] = {}


class Call:
    """Pickled, it calls a function on loading."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(write: Write) -> Write:
    """Register what writes a hostile file.

    It is given a good checkpoint's content, the path to write to and one that must never come into
    being, and returns another path where it wrote elsewhere.
    """
    FILES[write.__name__] = write
    return write


def _code(name: str, make: Callable[[Path], object], place: str = 'meta') -> None:
    def write(good: dict, path: Path, canary: Path) -> None:
        torch.save({**good, place: make(canary)}, path)

    write.__name__ = name
    hostile(write)


_TOUCH = 'open({!r}, "w")'
_code('os_system', lambda canary: Call(os.system, f'touch {canary}'))
_code('eval', lambda canary: Call(eval, _TOUCH.format(str(canary))))
_code('exec', lambda canary: Call(exec, _TOUCH.format(str(canary))))
_code('mkdir', lambda canary: Call(os.mkdir, str(canary)))
_code('open', lambda canary: Call(open, str(canary), 'w'))
_code('partial', lambda canary: partial(os.mkdir, str(canary)))
_code('getattr', lambda canary: Call(getattr, np.ndarray, 'tofile'))
_code('import', lambda canary: Call(__import__, 'os'))
_code('numpy_load', lambda canary: Call(np.load, str(canary)))
_code('torch_load', lambda canary: Call(torch.load, str(canary)))
_code('in_the_weights', lambda canary: {'a': Call(os.mkdir, str(canary))}, 'state_dict')
_code('in_the_hub', lambda canary: {'x': Call(os.mkdir, str(canary))}, 'message_hub')
_code('in_the_optimizer', lambda canary: [Call(os.mkdir, str(canary))], 'optimizer')
_code('in_a_key', lambda canary: {Call(os.mkdir, str(canary)): 1})


@hostile
def plain_pickle(good: dict, path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Call(os.mkdir, str(canary)), protocol=2))


@hostile
def legacy_format(good: dict, path: Path, canary: Path) -> None:
    content = {'state_dict': {}, 'meta': Call(os.mkdir, str(canary))}
    torch.save(content, path, _use_new_zipfile_serialization=False)


@hostile
def scripted(good: dict, path: Path, canary: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


@hostile
def whole_module(good: dict, path: Path, canary: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


@hostile
def packed(good: dict, path: Path, canary: Path) -> None:
    plain = io.BytesIO()
    torch.save(good, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


@hostile
def names_that_climb(good: dict, path: Path, canary: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'../../../..{canary}', 'made')
        archive.writestr('archive/data.pkl', pickle.dumps({}))


def _tensors(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    def write(good: dict, path: Path, canary: Path) -> None:
        state = dict(good['state_dict'])
        key = next(key for key, value in state.items() if value.ndim == 4)
        torch.save({**good, 'state_dict': {**state, key: change(state[key])}}, path)

    write.__name__ = name
    hostile(write)


_tensors('stride_0', lambda value: torch.zeros(1).expand(10**13))
_tensors('stride_0_same_shape', lambda value: torch.zeros(1).expand(value.shape))
_tensors('sparse', lambda value: value.to_sparse())
_tensors('complex', lambda value: value.to(torch.complex64))
_tensors('nan', lambda value: value * float('nan'))
_tensors('meta', lambda value: value.to('meta'))
_tensors('reshaped', lambda value: value[:1])


@hostile
def stride_0_in_the_hub(good: dict, path: Path, canary: Path) -> None:
    huge = torch.zeros(1).expand(10**13)
    torch.save({**good, 'optimizer': {'state': {0: {'exp_avg': huge}}, 'param_groups': []}}, path)


@hostile
def circles(good: dict, path: Path, canary: Path) -> None:
    meta: dict = dict(good['meta'])
    meta['dataset_meta'] = meta
    torch.save({**good, 'meta': meta}, path)


@hostile
def deep(good: dict, path: Path, canary: Path) -> None:
    nested: object = 1
    for _ in range(400):
        nested = {'meta': nested}
    torch.save({**good, 'meta': nested}, path)


def _info(name: str, make: Callable[[Path], dict]) -> None:
    def write(good: dict, path: Path, canary: Path) -> None:
        changed = copy.deepcopy(good)
        hub = changed.get('message_hub', {})
        hub.setdefault('runtime_info', {}).update(make(canary.parent / 'precious'))
        hub.setdefault('resumed_keys', {}).update(dict.fromkeys(make(canary), True))
        torch.save({**changed, 'message_hub': hub}, path)

    write.__name__ = name
    hostile(write)


_info('best_elsewhere', lambda precious: dict(best_ckpt=str(precious), best_score=-1.0))
_info('best_file_elsewhere', lambda precious: dict(best_ckpt=f'{precious}/file', best_score=-1.0))
_info('kept_elsewhere', lambda precious: dict(keep_ckpt_ids=[f'../../{precious}/file', '/x', -1]))
_info(
    'last_elsewhere', lambda precious: dict(last_ckpt=str(precious), mid_epoch_ckpt=str(precious))
)
_info('odd_counts', lambda precious: dict(epoch='x', iter=[1], max_iters={}, keep_ckpt_ids='abc'))


def _meta(name: str, make: Callable[[Path], dict]) -> None:
    def write(good: dict, path: Path, canary: Path) -> None:
        torch.save({**good, 'meta': {**good['meta'], **make(canary)}}, path)

    write.__name__ = name
    hostile(write)


_RUN = "__import__('os').mkdir({!r})\ngpu_ids=[]\n"
_meta('config_runs', lambda canary: dict(config=_RUN.format(str(canary))))
_meta('cfg_runs', lambda canary: dict(cfg=_RUN.format(str(canary))))
_meta('config_is_a_number', lambda canary: dict(config=3))
_meta('iteration_below_0', lambda canary: dict(iter=-5))
_meta('iteration_is_a_text', lambda canary: dict(iter='../../x', epoch='y'))
_meta('iteration_is_huge', lambda canary: dict(iter=10**30))
_meta('seed_is_a_list', lambda canary: dict(seed=[1], dataset_meta='x'))
_meta('classes_are_odd', lambda canary: dict(dataset_meta=dict(classes=[3, None], palette='x')))
_meta('a_million_labels', lambda canary: dict(dataset_meta=dict(classes=['x'] * 10**6)))


@hostile
def methods_in_a_history(good: dict, path: Path, canary: Path) -> None:
    changed = copy.deepcopy(good)
    history = HistoryBuffer([1.0], [1])
    history.statistics_methods = {'mean': HistoryBuffer.max}
    history.current = 'no method'
    changed.setdefault('message_hub', {}).setdefault('log_scalars', {})['train/loss'] = history
    torch.save(changed, path)


@hostile
def schedulers_with_attributes(good: dict, path: Path, canary: Path) -> None:
    states = [dict(step='x', optimizer='y', _global_step=-1)] * 2
    torch.save({**good, 'param_schedulers': states}, path)


@hostile
def cut(good: dict, path: Path, canary: Path) -> None:
    torch.save(good, path)
    path.write_bytes(path.read_bytes()[:-1000])


@hostile
def flipped(good: dict, path: Path, canary: Path) -> None:
    torch.save(good, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@hostile
def empty(good: dict, path: Path, canary: Path) -> None:
    path.write_bytes(b'')


@hostile
def page(good: dict, path: Path, canary: Path) -> None:
    path.write_text('<html>not found</html>')


@hostile
def header_of_safetensors(good: dict, path: Path, canary: Path) -> Path:
    header = json.dumps({'a': {'dtype': 'F32', 'shape': [10**6], 'data_offsets': [0, 8]}}).encode()
    path = path.with_suffix('.safetensors')
    path.write_bytes(struct.pack('<Q', len(header)) + header + bytes(8))
    return path


@hostile
def huge_header_of_safetensors(good: dict, path: Path, canary: Path) -> Path:
    path = path.with_suffix('.safetensors')
    path.write_bytes(struct.pack('<Q', 2**60) + b'{}')
    return path


@hostile
def shards_elsewhere(good: dict, path: Path, canary: Path) -> Path:
    path = path.with_name('model.safetensors.index.json')
    path.write_text(json.dumps({'weight_map': {'a': '../../../etc/passwd'}}))
    return path
