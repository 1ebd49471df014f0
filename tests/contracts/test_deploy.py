"""What is deployed: units, images and charts say what the pages say of them. Helm's own linter is not run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from typer.testing import CliRunner

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CHARTS = sorted(path.parent for path in DEPLOY.glob("helm/*/Chart.yaml"))
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def rendered(chart: Path, **changed: Any) -> list[dict[str, Any]]:
    """The objects of a chart, whose templates are text and names of values alone."""
    values = {**yaml.safe_load((chart / "values.yaml").read_text()), **changed}
    known = {f".Values.{name}": str(value) for name, value in values.items()} | {".Release.Name": "north"}
    used = set()

    def value(found: re.Match[str]) -> str:
        used.add(found.group(1))
        return known[found.group(1)]

    objects = list[dict[str, Any]]()
    for path in sorted((chart / "templates").glob("*.yaml")):
        text = re.sub(r"\{\{ ([\w.]+) \}\}", value, path.read_text())
        assert "{{" not in text, f"{path} has more than names of values"
        objects += yaml.safe_load_all(text)
    assert used >= {f".Values.{name}" for name in values}, "a value that nothing reads"
    return objects


def pods(chart: Path) -> Iterator[Mapping[str, Any]]:
    for one in rendered(chart):
        if one["kind"] in ("StatefulSet", "Deployment"):
            yield one["spec"]["template"]["spec"]


def options_hold(words: list[str]) -> None:
    """Is this a command of hansa's, with options that it has?"""
    from hansa.cli import commands

    told = CliRunner().invoke(commands, [words[0], "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in told.output, word


# ── the image ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P548")
def test_the_image_has_no_root_and_everything_in_it_is_pinned() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    after = lines[lines.index(f"USER {users[-1]}") :]
    assert users == ["10001:10001"] and not [line for line in after if line.startswith(("RUN", "COPY"))]
    assert [line for line in lines if line.startswith("FROM")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
    assert "ARG BASE" in lines and not re.search(r"ARG BASE=", text)
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)
    assert 'ENTRYPOINT ["hansa"]' in lines


@pytest.mark.promise("P548")
@pytest.mark.parametrize(
    ("base", "code"), [("python:3.11-slim@sha256:" + "0" * 64, 0), ("python:3.11-slim", 1), ("", 1)]
)
def test_a_base_without_a_digest_ends_the_build(base: str, code: int) -> None:
    (check,) = re.findall(r"^RUN (case .+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert subprocess.run(["sh", "-c", check], env={"BASE": base}, check=False, capture_output=True).returncode == code


@pytest.mark.promise("P548")
def test_packages_of_the_image_are_those_that_are_tested_each_with_its_hash() -> None:
    constraints = (DEPLOY.parent / "constraints.txt").read_text()
    tested = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", constraints, re.MULTILINE))
    tested = {_plain(name): version for name, version in tested.items()}
    for file in ("requirements.txt", "build.txt"):
        text = (DEPLOY / file).read_text()
        pins = re.findall(r"^([\w.-]+)==([\w.]+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
        assert len(pins) == text.count("==") > 3
        other = {name: version for name, version, _ in pins if tested.get(_plain(name), version) != version}
        assert not other
        if file == "requirements.txt":
            assert {"aiohttp", "cryptography", "msgspec", "prometheus-client", "psycopg", "sqlalchemy"} <= {
                _plain(name) for name, *_ in pins
            }


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ── compose, charts and units ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P548")
def test_compose_has_a_server_a_helper_and_three_sites_without_rights() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    commands = {who: one["command"].split() for who, one in services.items()}
    assert sorted(words[0] for words in commands.values()) == ["helper", "join", "join", "join", "serve"]
    for who, one in services.items():
        assert one["user"] == "10001:10001" and one["read_only"] and one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"] and one["ulimits"] == {"core": 0}
        assert ":?" in one["build"]["args"]["BASE"] and "ports" not in one
        assert sum("/var/lib/hansa/kit" in mount for mount in one["volumes"]) == 1
        options_hold(commands[who])
    assert int(services["server"]["stop_grace_period"].rstrip("s")) > int(
        commands["server"][commands["server"].index("--grace") + 1]
    )


@pytest.mark.promise("P548")
@pytest.mark.parametrize("chart", CHARTS, ids=lambda path: path.name)
def test_pods_have_no_rights_and_no_key_comes_from_outside(chart: Path) -> None:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert about["apiVersion"] == "v2" and about["appVersion"] == "0.2.0"
    (pod,) = pods(chart)
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["automountServiceAccountToken"] is False
    for one in (*pod["initContainers"], *pod["containers"]):
        assert one["securityContext"] == LOCKED
    assert not [volume for volume in pod["volumes"] if "secret" in volume or "hostPath" in volume]
    (container,) = pod["containers"]
    options_hold(container["args"])
    options_hold(re.findall(r"enroll|--\w+", pod["initContainers"][0]["command"][2]))


@pytest.mark.promise("P548")
def test_there_is_one_server_with_a_volume_and_one_of_each_site() -> None:
    server = {one["kind"]: one for one in rendered(DEPLOY / "helm" / "server")}
    held = server["StatefulSet"]["spec"]
    assert held["replicas"] == 1 and held["volumeClaimTemplates"]
    (container,) = held["template"]["spec"]["containers"]
    assert "--go-on" in container["args"]
    grace = next(int(one.partition("=")[2]) for one in container["args"] if one.startswith("--grace="))
    assert held["template"]["spec"]["terminationGracePeriodSeconds"] > grace
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert [one["port"] for one in server["Service"]["spec"]["ports"]] == [ports["sites"]], "metrics are not offered"
    rules = server["NetworkPolicy"]["spec"]["ingress"]
    assert [rule["from"] for rule in rules if {"port": "metrics"} in rule["ports"]]
    site = {one["kind"]: one for one in rendered(DEPLOY / "helm" / "site")}
    assert site["Deployment"]["spec"]["replicas"] == 1
    assert site["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert site["NetworkPolicy"]["spec"]["ingress"] == []


@pytest.mark.promise("P548")
def test_all_connections_of_a_site_go_to_one_gateway_whose_tls_ends_in_the_pod() -> None:
    gateway = {one["kind"]: one for one in rendered(DEPLOY / "helm" / "gateway")}
    service = gateway["Service"]["spec"]
    assert service["sessionAffinity"] == "ClientIP" and service["externalTrafficPolicy"] == "Local"
    assert gateway["StatefulSet"]["spec"]["replicas"] == 2 and gateway["StatefulSet"]["spec"]["volumeClaimTemplates"]
    server = {one["kind"]: one for one in rendered(DEPLOY / "helm" / "server", service="ClusterIP")}
    assert server["Service"]["spec"]["type"] == "ClusterIP"


@pytest.mark.promise("P548")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_has_no_rights(unit: Path, tmp_path: Path, absent: Callable[[str], NoReturn]) -> None:
    text = unit.read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"\w+=", line))
    wanted = {
        "Type": "notify",
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "LimitCORE": "0",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
    }
    assert {name: lines[name] for name in wanted} == wanted
    options_hold(lines["ExecStart"].split()[1:])
    verify = shutil.which("systemd-analyze")
    if verify is None:
        absent("no systemd-analyze on this machine")
    here = tmp_path / unit.name
    here.write_text(text.replace("/opt/hansa/bin/hansa", sys.executable))
    done = subprocess.run([verify, "verify", "--man=no", here], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert not said
