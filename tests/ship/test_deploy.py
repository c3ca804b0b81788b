"""k8s/deploy.sh against a stand-in for kubectl that notes what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ship.cluster import containers, manifests, pod_of, workloads

STAND_IN = """#!/usr/bin/env bash
# Renders as the real one does; everything else is noted, and answered as the test wants it.
[[ $1 == kustomize ]] && exec REAL "$@"
[[ $1 == --namespace ]] && shift 2
echo "$*" >> NOTES
case "$*" in
  "get secret "*) [[ " $MISSING " != *" $3 "* ]] ;;
  "wait job "*) [[ -z $MIGRATION_FAILS ]] ;;
  "get deployment --output "*) printf 'gateway=3\\nedge=7\\n' ;;
  "get deployment gateway "*) printf 4 ;;
  "get deployment edge "*) printf 7 ;;
  "rollout status deployment/$BROKEN "*) false ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A copy of k8s/, and what kubectl was asked."""

    folder: Path

    def deploy(self, overlay: str = "local", **behaviour: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": path, "MISSING": "", "MIGRATION_FAILS": "", "BROKEN": "nothing"} | behaviour
        command = [str(self.folder / "k8s" / "deploy.sh"), *([overlay] if overlay else [])]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def asked(self) -> list[str]:
        notes = self.folder / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    @property
    def verbs(self) -> list[str]:
        """What was asked, without the questions about secrets and with selectors alone."""
        return [
            line.partition(" ")[0] + (" " + line.partition("--selector ")[2] if "apply" in line else "")
            for line in self.asked
            if not line.startswith("get secret")
        ]


@pytest.fixture
def cluster(tmp_path: Path, repository: Path) -> Cluster:
    shutil.copytree(repository / "k8s", tmp_path / "k8s")
    stand_in = tmp_path / "bin" / "kubectl"
    stand_in.parent.mkdir()
    real = Path(sysconfig.get_path("scripts")) / "kubectl"
    stand_in.write_text(STAND_IN.replace("REAL", str(real)).replace("NOTES", str(tmp_path / "notes")))
    stand_in.chmod(0o755)
    return Cluster(tmp_path)


def test_a_release_is_rolled_out_after_its_migrations(cluster: Cluster) -> None:
    done = cluster.deploy()
    assert done.returncode == 0, done.stderr
    component = "app.kubernetes.io/component"
    assert cluster.verbs == [
        f"apply {component} notin (edge,service,migration)",
        "delete",
        f"apply {component}=migration",
        "wait",
        "get",
        f"apply {component} in (edge,service)",
        *["rollout"] * 5,
    ]


def test_every_secret_is_asked_for_before_anything_changes(cluster: Cluster) -> None:
    done = cluster.deploy(MISSING="tmdb game-svc-certificate")
    assert done.returncode == 1
    assert "game-svc-certificate tmdb" in done.stderr
    assert cluster.verbs == []
    wanted = set()
    for workload in workloads("local"):
        for volume in pod_of(workload).get("volumes", []):
            wanted |= {volume["secret"]["secretName"]} if "secret" in volume else set()
        for container in containers(pod_of(workload)):
            wanted |= {
                variable["valueFrom"]["secretKeyRef"]["name"]
                for variable in container.get("env", [])
                if "valueFrom" in variable
            }
    assert {line.split()[2] for line in cluster.asked} == wanted


def test_what_was_made_up_is_not_deployed(cluster: Cluster) -> None:
    done = cluster.deploy("production")
    assert done.returncode == 1
    for made_up in ("sha256:000", "api.example.com", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"):
        assert made_up in done.stderr
    assert cluster.asked == []


def test_a_migration_that_fails_leaves_what_runs_alone(cluster: Cluster) -> None:
    done = cluster.deploy(MIGRATION_FAILS="yes")
    assert done.returncode == 1
    assert "What runs is what ran before" in done.stderr
    assert cluster.verbs[-2:] == ["wait", "logs"]


def test_a_release_that_does_not_come_up_is_taken_back(cluster: Cluster) -> None:
    done = cluster.deploy(BROKEN="gateway")
    assert done.returncode == 1
    assert "Did not come up: gateway." in done.stderr
    # The edge had not changed, so there is nothing of it to take back.
    undone = [line for line in cluster.asked if line.startswith("rollout undo")]
    assert undone == ["rollout undo deployment/gateway --to-revision=3"]


def test_an_overlay_that_is_none_is_told(cluster: Cluster) -> None:
    for overlay in ("", "nowhere"):
        done = cluster.deploy(overlay)
        assert done.returncode == 2
        assert done.stderr == "Which overlay? One of: local production.\n"


def test_what_is_rolled_out_last_is_all_that_has_a_component() -> None:
    for one in manifests("local"):
        component = one["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        expected = {"Deployment": ("edge", "service"), "Job": ("migration",), "StatefulSet": ("store",)}
        if one["kind"] in expected:
            assert component in expected[one["kind"]], one["metadata"]["name"]
