"""Sizes of blocks and grids; Triton's functions of these names are much slower."""


def cdiv(a: int, b: int) -> int:
    """Return ``a / b``, rounded up."""
    return -(-a // b)


def next_power_of_2(n: int) -> int:
    """Return the smallest power of two that is at least ``n``."""
    return 1 << (n - 1).bit_length()
