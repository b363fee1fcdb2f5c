"""What goes wrong with a checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unsafe or does not fit; the message says what to do."""
