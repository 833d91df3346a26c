"""Which tags a stranger's condition names, however it is written."""

from __future__ import annotations

import pytest

from proximity.server.etags import etag_of, matches

TAG = etag_of("a fence")


@pytest.mark.parametrize(
    ("lines", "weakly", "strongly"),
    [
        ((TAG,), True, True),
        ((f'"x" , {TAG} ,"y"',), True, True),
        (('"x"', TAG), True, True),
        (("*",), True, True),
        (('"x"', " * "), True, True),
        ((f"W/{TAG}",), True, False),
        ((f'"x",W/{TAG}',), True, False),
        (('"x"',), False, False),
        ((TAG.strip('"'),), False, False),
        ((f'"x{TAG}',), False, False),
        (("",), False, False),
        ((), False, False),
    ],
)
def test_a_tag_is_found_wherever_it_stands(
    lines: tuple[str, ...], *, weakly: bool, strongly: bool
) -> None:
    assert matches(lines, TAG, weakly=True) is weakly
    assert matches(lines, TAG, weakly=False) is strongly
    assert not matches(lines, None, weakly=True)


@pytest.mark.parametrize("sign", [" ", "\t", '"', "W/", ",", '"a" '])
def test_no_line_of_a_stranger_holds_everybody_up(sign: str) -> None:
    """Searched in the square of its length this would take a quarter of an hour."""
    assert not matches(["x" + sign * 200_000 + "x"], TAG, weakly=True)
