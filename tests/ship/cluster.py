"""An overlay as kustomize renders it, and questions about it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from dev.manifests import render

Manifest = dict[str, Any]
SERVICES = ("backlog-svc", "game-svc", "gateway", "movie-svc")
MIGRATIONS = ("migrate-backlog-svc", "migrate-gateway")
STORES = ("postgresql", "mongodb", "redis")


@cache
def manifests(overlay: str) -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load_all(render(overlay)))


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    """Everything of one kind, by its name."""
    return {one["metadata"]["name"]: one for one in manifests(overlay) if one["kind"] == kind}


def workloads(overlay: str) -> Iterator[Manifest]:
    """Everything that makes pods."""
    for one in manifests(overlay):
        if "template" in one.get("spec", {}):
            yield one


def pod_of(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    for unit, factor in units.items():
        if str(text).endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def environment(overlay: str, pod: Manifest, container: Manifest) -> dict[str, str | None]:
    """What a container's process finds in its environment; None stands for what comes from a secret."""
    maps = of_kind(overlay, "ConfigMap")
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value")
    return found
