"""The compose file, the image and their settings: what can be checked without an engine that runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.cli import loading, serving
from ingest.settings import ALLOCATOR
from scripts import check_wheels
from tests.conftest import ROOT

TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LONG_RUNNING = [name for name, service in SERVICES.items() if not service.get("profiles")]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
RULES = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
ALLOWED = [rule[1:] for rule in RULES if rule[0] == "!"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def environments() -> Iterator[tuple[str, str, str]]:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            yield name, variable, str(value)


def copied_sources() -> list[str]:
    """Return what the image copies from the checkout."""
    copies = [shlex.split(line)[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    return [source for words in copies if not words[0].startswith("--from") for source in words]


def test_the_stack_is_servers_workers_dashboard_and_docs() -> None:
    assert sorted(LONG_RUNNING) == ["dashboard", "docs", "postgis", "redis", "worker"]
    assert SERVICES["worker"]["deploy"]["replicas"] == 3


def test_the_chain_is_a_service_of_its_own_that_is_asked_for() -> None:
    chain = SERVICES["chain"]
    assert chain["profiles"] == ["chain"]
    command = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in chain["command"]]
    assert command[:4] == ["python", "-m", "ingest", "worker"]
    options = loading.worker.make_context("worker", command[4:]).params
    assert (options["is_building"], options["schedule"]) == (True, "0 3 * * *")
    shared = {"restart", "stop_signal", "stop_grace_period", "healthcheck", "depends_on", "networks", "volumes"}
    assert {name: chain[name] for name in shared} == {name: SERVICES["worker"][name] for name in shared}


def test_every_service_has_a_limit_of_memory_that_what_it_keeps_there_fits_into() -> None:
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        found = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([mg])\}?", limits["memory"])
        assert found, name
        megabytes = int(found[1]) * {"m": 1, "g": 1024}[found[2]]
        # a worker takes 874 MB, an index of points 3 GB; PostgreSQL its buffers and what a session sorts
        assert megabytes >= {"redis": 128, "postgis": 4096}.get(name, 3584), name
        assert name == "postgis" or limits["cpus"], name


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_long_running_service_has_a_healthcheck_and_is_restarted(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_a_service_waits_until_what_it_needs_is_healthy() -> None:
    needs = {name: service["depends_on"] for name, service in SERVICES.items() if "depends_on" in service}
    assert set(needs) == set(SERVICES) - {"postgis", "redis"}
    for name, conditions in needs.items():
        for needed, how in conditions.items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[needed], f"{name} would wait for {needed} for ever"


def test_every_published_port_is_bound_to_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_redis_is_reached_by_workers_ingest_and_dashboard_only() -> None:
    assert COMPOSE["networks"]["queue"] == {"internal": True}
    assert SERVICES["redis"]["networks"] == ["queue"]
    joined = {name for name, service in SERVICES.items() if "queue" in service.get("networks", [])}
    assert joined == {"redis", "worker", "ingest", "dashboard", "chain"}


def test_no_secret_stands_in_the_file() -> None:
    secrets = [(name, variable, value) for name, variable, value in environments() if SECRET.search(variable)]
    assert {variable for _, variable, _ in secrets} == {"PGPASSWORD", "POSTGRES_PASSWORD", "INGEST_SECRET"}
    for name, variable, value in secrets:
        assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{variable} of {name} must come from .env"
    assert not re.search(r"://[^/\s]*:[^/\s]*@", TEXT), "a password in an address"


def test_workers_are_told_webhook_schedule_and_limits_which_are_off_unless_they_are_set() -> None:
    for variable in ("ALERT_WEBHOOK", "REFRESH_SCHEDULE", "INGEST_NO_PRIVATE_ADDRESSES"):
        told = {name: value for name, which, value in environments() if which == variable}
        assert told == dict.fromkeys(("worker", "ingest", "dashboard", "chain"), f"${{{variable}:-}}")
        assert f"\n{variable}=\n" in EXAMPLE


def test_the_dashboard_is_read_only_unless_it_is_told_otherwise() -> None:
    assert SERVICES["dashboard"]["command"][-1] == "${DASHBOARD_MODE:---read-only}"
    assert "\nDASHBOARD_MODE=--read-only\n" in EXAMPLE
    (option,) = [each for each in serving.dashboard.params if each.name == "is_read_only"]
    assert (option.opts, option.secondary_opts) == (["--read-only"], ["--with-buttons"])


def test_every_variable_is_explained_in_the_example_and_no_other() -> None:
    explained = set(re.findall(r"^#? ?(\w+)=", EXAMPLE, re.MULTILINE))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) == explained


def test_the_example_holds_no_secret() -> None:
    assert not [line for line in EXAMPLE.splitlines() if re.match(r"\w*(PASSWORD|SECRET)\w*=.", line)]


def test_images_have_a_version() -> None:
    for service in SERVICES.values():
        image = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["image"])
        _, _, tag = image.partition(":")
        assert tag not in ("", "latest"), image
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", DOCKERFILE, re.MULTILINE)
    own = {name for _, name in stages}
    for image, _ in stages:
        systems = {image.replace("${TARGETARCH}", system) for system in ("amd64", "arm64")}
        assert systems <= own or re.search(r":(?!latest$)\S+$", image), image


def test_our_containers_run_as_an_ordinary_user_on_a_read_only_disk() -> None:
    ours = {name: service for name, service in SERVICES.items() if "build" in service}
    assert set(ours) == {"worker", "ingest", "dbt", "docs", "dashboard", "chain", "api"}
    for name, service in ours.items():
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"]), name
        assert "user" not in service
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"


def test_the_build_uses_files_that_exist_and_may_enter_the_image() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    sources = copied_sources()
    assert "requirements.lock" in sources
    for source in sources:
        found = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(source)]
        assert found, f"COPY {source} finds nothing"
        for path in found:
            whole = [ROOT / path, *(ROOT / path).parents]
            named = any(each in whole for rule in ALLOWED for each in ROOT.glob(rule))
            assert named, f".dockerignore keeps {path} out"


def test_every_package_of_ours_enters_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {
        name.partition(".")[0].rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert packages == {"ingest", "admin_boundaries", "dbt"}
    assert packages <= set(copied_sources())


def test_nothing_enters_the_image_unless_it_is_named() -> None:
    assert RULES[0] == "*"
    assert not {".", ".env", ".git", ".warehouse", "sample", "data"} & set(ALLOWED)


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    installs = [part for line in DOCKERFILE.splitlines() for part in line.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for install in installs:
        is_of_wheels_made_here = {"--no-index", "--no-deps"} <= set(shlex.split(install))
        assert is_of_wheels_made_here or {"--require-hashes", "--requirement"} <= set(shlex.split(install)), install


def test_what_has_no_wheel_on_arm_is_built_there_from_the_locked_sources(tmp_path: Path) -> None:
    built = check_wheels.built_on_arm()
    assert built == ["fiona", "pgpq"]
    told = re.search(r"^\| Linux, ARM \| ([^|]+) \|", check_wheels.DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert told
    assert told[1].split(", ") == built
    pip = tmp_path / "bin" / "python"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    pip.chmod(0o755)
    lock, folder = ROOT / "requirements.lock", tmp_path / "wheels"
    command = ["sh", str(ROOT / "docker" / "build_wheels.sh"), str(lock), str(folder)]
    asked = {"PATH": f"{pip.parent}:/usr/bin:/bin"}
    assert subprocess.check_output(command, env=asked) == b""
    assert (folder / "rest.lock").read_bytes() == lock.read_bytes()
    said = subprocess.check_output([*command, *built], env=asked, text=True)
    assert {"wheel", "--no-deps", "--no-build-isolation", "--require-hashes", ":all:"} <= set(said.split())
    texts = {name: (folder / f"{name}.lock").read_text(encoding="utf-8") for name in ("built", "rest")}
    assert re.findall(r"^(\w+)==", texts["built"], re.MULTILINE) == built
    assert "--hash=sha256:" in texts["built"]
    assert not re.search(r"^(?:fiona|pgpq)==", texts["rest"], re.MULTILINE)
    assert sorted("".join(texts.values()).splitlines()) == sorted(lock.read_text(encoding="utf-8").splitlines())


def test_the_image_keeps_memory_as_a_worker_that_a_command_starts_does() -> None:
    for variable, value in ALLOCATOR.items():
        assert f" {variable}={value} " in DOCKERFILE


def test_commands_and_healthchecks_name_scripts_that_exist() -> None:
    words = {
        word
        for service in SERVICES.values()
        if "build" in service
        for word in [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
    }
    scripts = {word for word in words if word.endswith((".sh", ".py"))}
    assert len(scripts) == 2
    assert all((ROOT / script).is_file() for script in scripts), scripts
