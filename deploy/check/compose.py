"""What a schema cannot know of compose.yaml: that its parts fit together, and fit what they name.

Usage: compose.py FOLDER
"""

import pathlib
import re
import sys

from ruamel.yaml import YAML

# Made by prepare.sh, so not in the repository.
MADE = ("auth", "data", "films")


def load(path):
    return YAML(typ="safe").load(path.read_text())


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text).group(1))


def problems(folder):
    compose = load(folder / "compose.yaml")
    services = compose["services"]
    agents = {name: service for name, service in services.items() if name.endswith("_agent")}
    prepare = (folder / "prepare.sh").read_text()

    if len(agents) != 5:
        yield f"5 agents are expected, not {sorted(agents)}"
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            is_path = source.startswith(".")
            made = is_path and source.removeprefix("./").split("/")[0] in MADE
            if is_path and not made and not (folder / source).exists():
                yield f"{name}: {source} is not there"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: the port {port} is open to the network"
    for name, service in agents.items():
        identity = f"./auth/identities/mcp/{name}:/etc/mcp/auth:ro"
        if identity not in service["volumes"]:
            yield f"{name} does not get its own identity"
        if service["command"] != [name]:
            yield f"{name} runs {service['command']}"
        if f"agent add {name}" not in prepare:
            yield f"prepare.sh makes no identity for {name}"
        if service["environment"]["MCP_SETUP"] != "assume":
            yield f"{name} would create streams, for which it has no right"
        if seconds(service["stop_grace_period"]) < 25 + 10:
            yield f"{name} is killed before its drain is over"
    scraped = load(folder / "prometheus.yml")["scrape_configs"][0]["dns_sd_configs"][0]["names"]
    if set(scraped) != set(agents):
        yield f"Prometheus scrapes {scraped}"
    servers = sorted(name for name in services if name.startswith("nats-"))
    config = (folder / "nats.conf").read_text()
    for server in servers:
        if f"nats://{server}:6222" not in config or f"--host {server}" not in prepare:
            yield f"{server} is not in the routes or not in the certificate"
    urls = ",".join(f"tls://{server}:4222" for server in servers)
    for name, service in agents.items():
        if service["environment"]["MCP_NATS_URL"] != urls:
            yield f"{name} does not know all servers"
    lame_duck = int(re.search(r'lame_duck_duration: "(\d+)s"', config).group(1))
    if any(seconds(services[server]["stop_grace_period"]) <= lame_duck for server in servers):
        yield "a server is killed before its clients have left"


found = list(problems(pathlib.Path(sys.argv[1])))
print("\n".join(found))
sys.exit(1 if found else 0)
