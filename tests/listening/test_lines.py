"""Test that long lines are found however the text is cut into chunks."""

import re

from hypothesis import given
from hypothesis import strategies as st

from etude.listening.lines import MARK, LineMeter

pieces = st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r", b"\r\n", b"ccccc"])).map(b"".join)


@given(pieces, st.integers(1, 7), st.integers(3, 9), st.booleans())
def test_exactly_the_lines_above_the_limit_are_found_with_their_places(text, limit, size, marked):
    data = (MARK if marked else b"") + text
    meter = LineMeter(limit)
    for start in range(0, len(data), size):
        meter.feed(data[start : start + size])
    found = meter.finish()
    assert [line.length for line in found] == [len(line) for line in re.split(rb"[\r\n]", text) if len(line) > limit]
    for line in found:
        assert not re.search(rb"[\r\n]", data[line.start : line.start + line.length])
