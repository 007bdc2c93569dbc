"""A gateway with a fault planted: it tells of commits that the database may still lose.

python -m tests.planted_gateway serve --home HOME
"""

from __future__ import annotations

from typing import Any

from gateway.cli import main
from gateway.stores.postgres import PostgresStore

_durably = PostgresStore._connect


def connect_and_do_not_wait(store: PostgresStore) -> Any:
    connection = _durably(store)
    connection.execute("SET synchronous_commit = off")
    return connection


if __name__ == "__main__":
    PostgresStore._connect = connect_and_do_not_wait  # type: ignore[method-assign]
    main()
