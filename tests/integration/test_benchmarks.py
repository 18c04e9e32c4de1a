"""Each part of `make bench` in its smallest form; figures are not checked."""

import pytest

from tests.bench.__main__ import PARTS, measure


@pytest.mark.parametrize("part", PARTS)
async def test_a_benchmark_measures_and_prints(part, capsys):
    results = await measure([part], 0.005)

    assert set(results) == {"machine", part}
    assert part in (printed := capsys.readouterr().out)
    assert "did not complete" not in printed
