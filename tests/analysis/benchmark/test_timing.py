import dataclasses

from mmconvnext.analysis.benchmark.timing import Spread, gemm_gflops


def test_quartiles_match_numpy() -> None:
    spread = Spread.of([5.0, 1.0, 2.0, 8.0])
    assert dataclasses.astuple(spread) == (3.5, 1.75, 5.75)
    assert Spread.of([4.0]) == Spread(4.0, 4.0, 4.0)


def test_gemm_ceiling_is_positive() -> None:
    assert gemm_gflops('cpu', side=64, repeats=2) > 0
