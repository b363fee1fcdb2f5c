"""Which of a run's processes this one is, before they are joined."""

import os

_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def is_first_process() -> bool:
    """Whether no other process of the run is before this one, however they were started."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), '0') == '0'
