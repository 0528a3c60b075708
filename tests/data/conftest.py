from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from stanley.errors import StanleyError

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refused() -> Refused:
    """`with refused(*parts)`: the block raises StanleyError,
    its message is one line and names every part.
    """

    @contextmanager
    def check(*parts: object) -> Iterator[None]:
        with pytest.raises(StanleyError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert str(part) in message, message

    return check
