"""What of the contract answers, and what is still to come."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from backlog_svc.servicer import BacklogServicer
from game_svc.servicer import GameServicer
from gateway.account_servicer import AccountServicer
from gateway.auth_servicer import AuthServicer
from gateway.library_servicer import LibraryServicer
from gateway.revocation_servicer import RevocationServicer
from movie_svc.servicer import MovieServicer
from popcorn.backlog.v1 import backlog_pb2
from popcorn.game.v1 import game_pb2
from popcorn.gateway.v1 import account_pb2, auth_pb2, library_pb2, revocations_pb2
from popcorn.movie.v1 import movie_pb2

SERVICERS: Mapping[ServiceDescriptor, type] = {
    auth_pb2.DESCRIPTOR.services_by_name["AuthService"]: AuthServicer,
    account_pb2.DESCRIPTOR.services_by_name["AccountService"]: AccountServicer,
    library_pb2.DESCRIPTOR.services_by_name["LibraryService"]: LibraryServicer,
    revocations_pb2.DESCRIPTOR.services_by_name["RevocationService"]: RevocationServicer,
    game_pb2.DESCRIPTOR.services_by_name["GameService"]: GameServicer,
    backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"]: BacklogServicer,
    movie_pb2.DESCRIPTOR.services_by_name["MovieService"]: MovieServicer,
}

NOT_YET: Mapping[str, set[str]] = {
    "AuthService": set(),
    "AccountService": set(),
    "RevocationService": set(),
    "LibraryService": set(),
    "GameService": set(),
    "BacklogService": set(),
    "MovieService": set(),
}  # fmt: skip
"""RPCs that answer UNIMPLEMENTED. This list only ever gets shorter."""


@pytest.mark.parametrize("service", SERVICERS, ids=lambda service: service.name)
def test_every_rpc_answers_or_is_known_to_come_later(service: ServiceDescriptor) -> None:
    own = vars(SERVICERS[service])
    unanswered = {method.name for method in service.methods if method.name not in own}
    assert unanswered == NOT_YET[service.name]
