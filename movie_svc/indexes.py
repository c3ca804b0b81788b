"""Indexes in MongoDB that are made once."""

from typing import Any


async def keep_index(collection: Any, field: str, **options: Any) -> None:
    """Make an ascending index over a field unless there is one.

    Asking first is not only cheaper: SecantusDB 0.7 stops answering when it makes the same index twice at a
    time while the collection is written to, as replicas that start together would have it do.
    """
    indexes = (await collection.index_information()).values()
    if not any(list(index["key"]) == [(field, 1)] for index in indexes):
        await collection.create_index(field, **options)
