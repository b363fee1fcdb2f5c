"""Check and normalise the arguments that all backbones of this package share."""

from collections.abc import Sequence

from mmconvnext.errors import ArgumentError

STAGES = 4


def resolve_out_indices(out_indices: int | Sequence[int]) -> tuple[int, ...]:
    """Return the requested stages as indices from 0 to 3.

    Raises:
        ArgumentError: (a ValueError) a stage does not exist, or occurs twice.
    """
    given = (out_indices,) if isinstance(out_indices, int) else integers(out_indices)
    resolved = tuple(index + STAGES if index < 0 else index for index in given)
    bad = not resolved or any(not 0 <= index < STAGES for index in resolved)
    if bad or len(set(resolved)) != len(resolved):
        raise ArgumentError(
            f'out_indices: expected different stages from 0 to 3 (or -4 to -1), got {out_indices!r}'
        )
    return resolved


def integers(values: object) -> tuple[int, ...]:
    """Return the values, or an empty tuple if they are not a sequence of integers."""
    if isinstance(values, Sequence) and all(isinstance(value, int) for value in values):
        return tuple(values)
    return ()


def require_possible(
    *,
    in_channels: int,
    drop_path_rate: float,
    layer_scale_init_value: float | None,
    frozen_stages: int,
) -> None:
    """Check that numeric arguments are in their ranges.

    Raises:
        ArgumentError: (a ValueError) an argument is out of its range.
    """
    if in_channels < 1:
        raise ArgumentError(f'in_channels: expected 1 or more, got {in_channels}')
    if not 0 <= drop_path_rate < 1:
        raise ArgumentError(f'drop_path_rate: expected [0, 1), got {drop_path_rate}')
    if layer_scale_init_value is not None and layer_scale_init_value < 0:
        raise ArgumentError(
            f'layer_scale_init_value: expected 0 or more, or None, got {layer_scale_init_value}'
        )
    if not -1 <= frozen_stages <= STAGES:
        raise ArgumentError(
            'frozen_stages: expected -1 (none), 0 (the stem) or up to 4 (all stages), got '
            f'{frozen_stages}'
        )


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Return the drop rate of each block: rate · k / (n - 1) for block k of n, as in the papers."""
    return [rate * block / max(blocks - 1, 1) for block in range(blocks)]


def require_size(size: Sequence[int], smallest: int) -> None:
    """Check that both sides of an input, in pixels, are ``smallest`` or more.

    Raises:
        ArgumentError: (a ValueError) a side is smaller.
    """
    if min(size) < smallest:
        raise ArgumentError(
            f'input: expected at least {smallest} × {smallest} pixels, got {size[0]} × {size[1]}'
        )
