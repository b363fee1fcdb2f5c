"""Memory of each process in training, with and without a sharded optimizer, on a CPU.

Example:
    export MALLOC_MMAP_THRESHOLD_=1000000  # so that freed memory goes back to the system
    python -m benchmarks.sharding configs/upernet_convnext_xl_in22k_ade20k_640.py --sharded

The model has random weights, and each process takes two steps with two small images. Optimizer,
parameter groups and clipping are the config's.
"""

import argparse
import tempfile

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

import mmconvnext  # noqa: F401  (makes the stack work on this torch before it is used)
from mmconvnext.analysis.benchmark.batch import packed_images
from mmconvnext.analysis.benchmark.memory import resident
from mmconvnext.command_line import options
from mmconvnext.command_line.hardware import disable_amp, fit_to_hardware
from mmconvnext.errors import one_line_errors


def measure(rank: int, arguments: argparse.Namespace, folder: str) -> None:
    """Take two steps with the other processes, and print this process's memory in GB."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f'{folder}/store', arguments.processes)
    torch.distributed.init_process_group(
        'gloo', store=store, rank=rank, world_size=arguments.processes
    )
    config = options.load_config(arguments)
    fit_to_hardware(config)
    disable_amp(config)
    for part in (config.model, *options.backbones(config.model)):
        part.pop('init_cfg', None)
    if arguments.sharded:
        kind = config.optim_wrapper.optimizer.type
        config.optim_wrapper.optimizer.update(type='ZeroRedundancyOptimizer', optimizer_type=kind)
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    # The gradients are views of the buckets that processes exchange, instead of second copies.
    trained = MMDistributedDataParallel(model, gradient_as_bucket_view=True)
    for _ in range(2):  # the optimizer's state exists from the end of the first
        trained.train_step(packed_images(model, (arguments.size, arguments.size), 2), wrapper)
    optimizer = getattr(wrapper.optimizer, 'optim', wrapper.optimizer)
    state = [t for one in optimizer.state.values() for t in one.values() if torch.is_tensor(t)]
    numbers = {
        'weights': sum(one.nbytes for one in model.parameters()),
        'optimizer': sum(one.nbytes for one in state),
        'the process between steps': resident('VmRSS'),
        'at its peak': resident('VmHWM'),
    }
    told = ', '.join(f'{name} {number / 1e9:.2f}' for name, number in numbers.items())
    for turn in range(arguments.processes):
        torch.distributed.barrier()
        if turn == rank:
            print(f'process {rank}: {told} GB', flush=True)
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_config_arguments(parser)
    parser.add_argument('--sharded', action='store_true', help='use ZeroRedundancyOptimizer')
    parser.add_argument('--processes', type=options.positive, default=2)
    parser.add_argument('--size', type=options.positive, default=64, help='of the images; 64')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(measure, (arguments, folder), nprocs=arguments.processes)


if __name__ == '__main__':
    with one_line_errors():
        main()
