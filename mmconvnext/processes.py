"""Which of a run's processes this one is, before they are joined."""

import os

_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def is_first_process(launcher: str = 'any') -> bool:
    """Whether no other process of the run is before this one.

    Args:
        launcher: Who started the processes; ``'none'`` for a run of one process, which may be one
            of many runs that Slurm started.
    """
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), '0')
    return launcher == 'none' or rank == '0'
