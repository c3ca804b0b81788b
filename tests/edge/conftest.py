"""A real Envoy, rendered as everywhere else, in front of servers that write down what reaches them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.edge.door import Door, open_door

NewDoor = Callable[..., Awaitable[Door]]


@pytest.fixture(scope="session")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """An edge that nobody changes."""
    async with open_door(tmp_path_factory.mktemp("edge")) as opened:
        yield opened


@pytest.fixture
async def new_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NewDoor]:
    """Opens doors with settings of their own, for one test."""
    async with AsyncExitStack() as stack:

        async def open_one(**changes: Any) -> Door:
            return await stack.enter_async_context(open_door(tmp_path_factory.mktemp("edge"), **changes))

        yield open_one


@pytest.fixture
def marker() -> str:
    """A header's value that finds this test's calls among the others."""
    return uuid.uuid4().hex
