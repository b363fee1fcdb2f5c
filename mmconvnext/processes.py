"""Find out how this process of a run was started, before processes are connected."""

import os

_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def is_first_process(launcher: str = 'any') -> bool:
    """Return whether this is the first process of the run.

    Args:
        launcher: The launcher of the processes; ``'none'`` for a run of one process, even if Slurm
            started many such runs.
    """
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), '0')
    return launcher == 'none' or rank == '0'


def started_by_torchrun() -> bool:
    """Return whether torchrun started this process; it reports processes that have failed."""
    return 'TORCHELASTIC_RUN_ID' in os.environ
