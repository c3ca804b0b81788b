"""Where another service is, as settings spell it and as gRPC understands it."""

import pytest
from pydantic import TypeAdapter, ValidationError

from mesh.settings import Target

TARGET: TypeAdapter[str] = TypeAdapter(Target)


@pytest.mark.parametrize("one", ["backlog:9000", "127.0.0.1:9000", "[::1]:9000", "dns:///backlog.svc:9000"])
def test_one_address_is_taken_as_it_is(one: str) -> None:
    assert TARGET.validate_python(one) == one


def test_several_addresses_are_one_target_for_grpc() -> None:
    assert TARGET.validate_python("10.0.0.1:1,10.0.0.2:65535") == "ipv4:10.0.0.1:1,10.0.0.2:65535"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "backlog",
        "backlog:0",
        "backlog:65536",
        "a:1,b:2",
        "10.0.0.1:1,",
        "dns:///10.0.0.1:1,10.0.0.2:1",
        ",",
    ],
)
def test_anything_else_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError):
        TARGET.validate_python(bad)
