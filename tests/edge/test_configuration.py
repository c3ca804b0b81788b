"""What is rendered is a configuration that Envoy takes, whatever the settings, and bad settings are named."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2

from dev.certificates import Authority, Mounted
from dev.edge import Edge, find_envoy
from dev.processes import StartFailed, free_port
from mesh.edge import PUBLIC_SERVICES, main, methods, render, write
from mesh.edge_settings import EdgeSettings
from tests.edge.door import settings
from tests.edge.standins import METHODS, PROTECTED, PUBLIC


def validate(text: str, folder: Path) -> None:
    path = folder / "envoy.yaml"
    path.write_text(text, encoding="utf-8")
    validated(path)


def validated(path: Path) -> None:
    command = [str(find_envoy()), "--mode", "validate", "-c", str(path), "--log-level", "warning"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "deprecated" not in ran.stderr.lower(), ran.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"edge_admin_port": 9901, "edge_bind": "0.0.0.0", "edge_reuse_port": True},
        {"edge_bind": "::"},
        {"gateway_target": ("gateway.popcorn.svc:9000",), "game_target": ("game-svc:9000", "10.0.0.7:9000")},
        {"gateway_target": ("[::1]:9000", "127.0.0.1:9000")},
        {"cors_origins": ()},
        {"cors_origins": ("*",)},
        {"cors_origins": ("https://a.test", "http://localhost:5173")},
        {"edge_sign_ins_per_minute": 1, "edge_max_body_bytes": 5_242_880, "edge_trusted_hops": 2},
        {"token_issuer": 'it\'s "quoted": {{ 7 }} %REQ(:path)% # ü', "token_audience": "a: b"},
        {"access_token_days": 365, "edge_keys_cache_seconds": 600, "edge_health_seconds": 0.5},
    ],
    ids=str,
)
def test_envoy_takes_what_is_rendered(tmp_path: Path, changes: dict[str, Any]) -> None:
    validate(render(settings(**changes)), tmp_path)


def test_envoy_takes_a_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    validated(
        write(settings(edge_tls_certificate_file=certificate, edge_tls_key_file=key), tmp_path / "envoy")
    )


async def test_a_new_public_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority, mounted = Authority("public"), Mounted(tmp_path / "public")
    mounted.put(authority.issue("127.0.0.1"), authority)
    public = settings(edge_tls_certificate_file=mounted.files.chain, edge_tls_key_file=mounted.files.key)
    edge = Edge(public, folder=tmp_path / "envoy")
    write(public, tmp_path / "envoy")
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())

    def shown() -> str | None:
        try:
            with (
                socket.create_connection(("127.0.0.1", public.edge_port), timeout=3) as plain,
                trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
        except OSError:
            return None

    await asyncio.to_thread(edge.process.start)
    try:
        await asyncio.to_thread(edge.process.wait_until, lambda: shown() is not None, seconds=20)
        async with httpx.AsyncClient(verify=trusting, http2=True, trust_env=False) as client:
            assert (await client.get(f"{edge.url}/v1/me")).json()["code"] in (14, 16)
        renewed = authority.issue("127.0.0.1")
        mounted.put(renewed, authority)
        wanted = renewed.certificate.decode()
        await asyncio.to_thread(edge.process.wait_until, lambda: shown() == wanted, seconds=20)
    finally:
        await asyncio.to_thread(edge.stop)


@pytest.mark.parametrize("gateway", ["127.0.0.1:9000", "[::1]:9000", "gateway:9000"])
def test_envoy_takes_a_certificate_for_the_mesh(tmp_path: Path, gateway: str) -> None:
    certificate, key = self_signed(tmp_path)
    mutual = settings(
        gateway_target=(gateway,),
        mesh_certificate_file=certificate,
        mesh_key_file=key,
        mesh_authorities_file=certificate,
    )
    validated(write(mutual, tmp_path / "envoy"))


def test_the_allow_list_is_the_contract_s() -> None:
    held = {
        method.path: method for method in methods(settings().edge_descriptor_set.read_bytes(), settings())
    }
    assert set(held) == {*PROTECTED, *PUBLIC}
    assert {path for path, method in held.items() if method.public} == set(PUBLIC)
    for path, method in held.items():
        contract = METHODS[path]
        assert (method.streams_up, method.streams_down) == (
            contract.client_streaming,
            contract.server_streaming,
        )
        assert method.repeatable == (contract.GetOptions().idempotency_level != 0)
    assert {path for path, method in held.items() if method.cluster == "game_streams"} == {
        "/popcorn.game.v1.GameService/WatchGame",
        "/popcorn.game.v1.GameService/StreamEvents",
        "/popcorn.game.v1.GameService/Play",
    }
    assert {path for path, method in held.items() if method.cluster == "library"} == {
        path for path in held if path.startswith("/popcorn.gateway.v1.LibraryService/")
    }
    assert {path.rpartition("/")[2] for path, method in held.items() if method.limit} == {
        "SignIn",
        "SignInAsGuest",
        "RefreshSession",
        "ReceiveAppleNotification",
        "LinkIdentity",
        "ImportBacklog",
        "JoinGame",
    }


def test_a_contract_without_a_method_that_is_limited_is_refused() -> None:
    contract = descriptor_pb2.FileDescriptorSet.FromString(settings().edge_descriptor_set.read_bytes())
    for file in contract.file:
        for service in file.service:
            if service.name == "AuthService":
                del service.method[:]
    with pytest.raises(ValueError, match="SignIn"):
        methods(contract.SerializeToString(), settings())
    with pytest.raises(ValueError, match=next(iter(PUBLIC_SERVICES))):
        methods(b"", settings())


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"gateway_target": ()}, "gateway_target"),
        ({"gateway_target": ("gateway",)}, "gateway_target"),
        ({"game_target": ("game:0",)}, "game_target"),
        ({"edge_bind": "everywhere"}, "edge_bind"),
        ({"edge_port": 0}, "edge_port"),
        ({"cors_origins": ("https://a.test/path",)}, "cors_origins"),
        ({"cors_origins": ("a.test",)}, "cors_origins"),
        ({"token_issuer": ""}, "token_issuer"),
        ({"edge_joins_per_minute": 0}, "edge_joins_per_minute"),
        ({"edge_tls_certificate_file": __file__}, "EDGE_TLS_KEY_FILE"),
        ({"edge_descriptor_set": "/nowhere.binpb"}, "edge_descriptor_set"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        settings(**changes)


def test_the_command_reads_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_TARGET", "gateway-1:9000, gateway-2:9000")
    monkeypatch.setenv("GAME_TARGET", "game:9000")
    monkeypatch.setenv("TOKEN_ISSUER", "https://popcorn.test")
    monkeypatch.setenv("TOKEN_AUDIENCE", "app")
    monkeypatch.setenv("CORS_ORIGINS", "")
    assert main(["--folder", str(tmp_path)]) == 0
    text = (tmp_path / "envoy.yaml").read_text(encoding="utf-8")
    assert '"gateway-2"' in text
    assert main([]) == 0
    contract = settings().edge_descriptor_set
    assert capsys.readouterr().out == text.replace(str(tmp_path), str(contract.parent))
    for file in ("popcorn.binpb", "docs.html", "openapi.json"):
        assert (tmp_path / file).read_bytes() == contract.with_name(file).read_bytes()
    monkeypatch.delenv("TOKEN_ISSUER")
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "TOKEN_ISSUER is not set" in capsys.readouterr().err


async def test_a_second_edge_on_the_port_is_refused_with_a_sentence(tmp_path: Path) -> None:
    first = Edge(settings(), folder=tmp_path / "first")
    await asyncio.to_thread(first.start)
    try:
        second = Edge(first.settings, folder=tmp_path / "second")
        with pytest.raises(StartFailed, match=f"Port {first.settings.edge_port} is taken"):
            second.start()
        # Envoy itself refuses too: it must never share the port in silence.
        text = render(second.settings)
        second.configuration.parent.mkdir(parents=True)
        second.configuration.write_text(text, encoding="utf-8")
        second.process.start()
        with pytest.raises(StartFailed, match="in use"):
            second.process.wait_until(lambda: False, seconds=20)
    finally:
        first.stop()


async def test_the_admin_page_is_there_only_on_loopback_and_only_when_asked_for(tmp_path: Path) -> None:
    port = free_port()
    edge = Edge(settings(edge_admin_port=port), folder=tmp_path)
    await asyncio.to_thread(edge.start)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/ready")).text == "LIVE\n"
            assert (await client.get(f"{edge.url}/ready")).status_code == 404
        listening = f"address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}"
        assert listening in edge.configuration.read_text(encoding="utf-8")
    finally:
        edge.stop()
    assert "\nadmin:" not in render(settings())


def test_the_defaults_need_only_what_cannot_be_guessed() -> None:
    required = {name for name, field in EdgeSettings.model_fields.items() if field.is_required()}
    assert required == {"gateway_target", "game_target", "token_issuer", "token_audience"}


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for loopback and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "edge.crt", folder / "edge.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
