"""How much is tried, and how bytes are made that are nearly right."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("FUZZ", "0"))
"""So many times what a test tries by itself, and new examples each time; 0: the same ones each time."""


def effort(examples: int) -> settings:
    """For a test that tries so many by itself."""
    return settings(max_examples=examples * (TIMES or 1), deadline=None, derandomize=not TIMES, database=None)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of ``seeds``, up to eight times cut, overwritten or lengthened, also with ``words`` and with parts of another seed."""
    data = draw(st.sampled_from(seeds))
    others = st.sampled_from(seeds).flatmap(lambda seed: st.integers(0, len(seed)).map(lambda at: seed[at : at + 24]))
    pieces = st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"\xff", b"9" * 30, b"\xc2\xb2", *words]) | others
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data)))
        data = (
            data[:at] + draw(pieces) * draw(st.sampled_from([1, 1, 1, 2, 3000])) + data[at + draw(st.integers(0, 8)) :]
        )
    return data[: 1 << 16]
