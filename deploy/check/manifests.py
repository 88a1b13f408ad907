"""What Kubernetes' own schemas do not say of rendered manifests: custom kinds, and that drain and lanes are right.

Usage: manifests.py FILE SCHEMAS
"""

import json
import pathlib
import re
import sys

import jsonschema
from ruamel.yaml import YAML

LANES = ("critical", "high", "normal", "low")


def of_kind(documents, kind):
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def custom(documents, schemas):
    for document in documents:
        path = schemas / f"{document['kind'].lower()}.json"
        if path.exists():
            validator = jsonschema.Draft202012Validator(json.loads(path.read_text()))
            for error in validator.iter_errors(document):
                yield f"{document['kind']} {document['metadata']['name']}: {error.json_path}: {error.message}"
        elif "." in document["apiVersion"].split("/")[0] and not re.search(r"\.k8s\.io/|^apps/", document["apiVersion"]):
            yield f"{document['kind']}: there is no schema for it"


def pod(name, deployment):
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    grace = int(re.fullmatch(r"(\d+)s", environment["MCP_DRAIN_GRACE"]).group(1))
    if spec["terminationGracePeriodSeconds"] < grace + 10:
        yield f"{name}: killed before its drain of {grace} s is over"
    if spec.get("enableServiceLinks", True):
        yield f"{name}: variables of services would be taken for misspelt settings"
    if spec.get("automountServiceAccountToken", True):
        yield f"{name}: gets a token that it does not need"
    if not spec["securityContext"]["runAsNonRoot"] or not container["securityContext"]["readOnlyRootFilesystem"]:
        yield f"{name}: may be root, or write to its file system"
    if container["securityContext"]["capabilities"]["drop"] != ["ALL"]:
        yield f"{name}: keeps capabilities"
    port = container["ports"][0]["containerPort"]
    if environment["MCP_HTTP_ADDR"] != f"0.0.0.0:{port}":
        yield f"{name}: is probed on another port than it serves"
    paths = [container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    if paths != ["/livez", "/readyz"]:
        yield f"{name}: probes {paths}"
    rolling = deployment["spec"]["strategy"]["rollingUpdate"]
    if rolling != {"maxUnavailable": 0, "maxSurge": 1}:
        yield f"{name}: an update takes pods away before there are others"


def scaling(name, scaled, deployments):
    if scaled["spec"]["scaleTargetRef"]["name"] not in deployments:
        yield f"{name}: scales a deployment that is not there"
    triggers = scaled["spec"]["triggers"]
    names = [trigger["name"] for trigger in triggers]
    consumers = [trigger["metadata"]["consumer"] for trigger in triggers]
    agents = {consumer.rsplit("_", 1)[0] for consumer in consumers[: len(LANES)]}
    if len(agents) != 1 or [consumer.rsplit("_", 1)[1] for consumer in consumers[: len(LANES)]] != list(LANES):
        yield f"{name}: the lanes are {consumers}"
    if len(set(names)) != len(names) or len(set(consumers)) != len(consumers) and "tasks" not in str(triggers):
        yield f"{name}: a queue counts twice"
    if scaled["spec"]["advanced"]["scalingModifiers"]["formula"] != " + ".join(names):
        yield f"{name}: the formula leaves queues out"
    if scaled["spec"]["minReplicaCount"] > scaled["spec"]["maxReplicaCount"]:
        yield f"{name}: fewer at most than at least"


def job(name, document):
    if "helm.sh/hook" in document["metadata"].get("annotations", {}):
        yield f"{name}: a hook waits for agents that wait for it"
    if not re.search(r"-[0-9]+$", name):
        yield f"{name}: cannot be changed, so each revision needs a job of its own"
    spec = document["spec"]["template"]["spec"]
    for container in spec["initContainers"] + spec["containers"]:
        if not spec["securityContext"]["runAsNonRoot"] or not container["securityContext"]["readOnlyRootFilesystem"]:
            yield f"{name}: {container['name']} may be root, or write to its file system"


def problems(path, schemas):
    documents = [document for document in YAML(typ="safe").load_all(path.read_text()) if document]
    yield from custom(documents, schemas)
    deployments = of_kind(documents, "Deployment")
    if not deployments:
        yield "there is no deployment"
    for kind in ("ScaledObject", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"):
        missing = set(deployments) - set(of_kind(documents, kind))
        if missing:
            yield f"{kind}: missing for {sorted(missing)}"
    for name, deployment in deployments.items():
        yield from pod(name, deployment)
    for name, document in of_kind(documents, "Job").items():
        yield from job(name, document)
    for name, scaled in of_kind(documents, "ScaledObject").items():
        yield from scaling(name, scaled, deployments)
    for name, policy in of_kind(documents, "NetworkPolicy").items():
        if sorted(policy["spec"]["policyTypes"]) != ["Egress", "Ingress"]:
            yield f"{name}: lets something through unasked"


found = list(problems(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
print("\n".join(found))
sys.exit(1 if found else 0)
