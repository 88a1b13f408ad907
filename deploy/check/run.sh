#!/usr/bin/env bash
# Checks everything in deploy/ that no compiler reads: Dockerfiles, compose, the unit, the chart and what is rendered from it, the
# servers' configuration, rules and dashboards. `make deploy-check` calls it.
#
# What a machine lacks (helm, systemd, a built mcpctl) is passed over, and said so at the end. Nothing is passed over in silence, and with
# DEPLOY_CHECK_STRICT=1, as in CI, nothing at all.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
tools=$("$here/tools.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=()

# check WHAT COMMAND…: runs it, and shows what it says only when it fails.
check() {
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        printf '  ok    %s\n' "$what"
        passed=$((passed + 1))
    else
        printf '  FAIL  %s\n' "$what"
        sed 's/^/        /' "$work/said"
        failed=$((failed + 1))
    fi
}
skip() { skipped+=("$1"); printf '  skip  %s\n' "$1"; }
# A check that must find something: one that cannot fail is worth nothing.
refuses() { ! "$@"; }

echo "images"
for file in deploy/docker/Dockerfile deploy/docker/agent.Dockerfile; do
    check "$file" "$tools/hadolint" "$file"
done

echo "compose"
check "compose.yaml against the compose specification" \
    "$tools/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
check "its files, services and grace periods fit together" "$tools/python" "$here/compose.py" deploy/compose
check "prepare.sh" bash -n deploy/compose/prepare.sh
source "$here/servers.sh"

echo "systemd"
if type -P systemd-analyze >/dev/null; then
    mkdir -p "$work/units/mcp-agent@.service.d"
    cp deploy/systemd/auth.conf "$work/units/mcp-agent@.service.d/"
    # The agent's program is not on this machine.
    sed 's#^ExecStart=.*#ExecStart=/bin/true#' deploy/systemd/mcp-agent@.service >"$work/units/mcp-agent@.service"
    check "mcp-agent@.service with auth.conf" env SYSTEMD_UNIT_PATH="$work/units:" systemd-analyze verify mcp-agent@my_agent.service
else
    skip "the unit: there is no systemd-analyze"
fi

echo "kubernetes"
source "$here/chart.sh"

echo "observability"
observability=deploy/scripts/check-observability.sh
if said=$("$observability" 2>&1); then
    check "rules, alerts and the dashboard's queries, with promtool" true
    promtool=${MCP_PROMTOOL:-$(type -P promtool || echo .tools/bin/promtool)}
    check "compose/prometheus.yml, with promtool" "$promtool" check config --syntax-only deploy/compose/prometheus.yml
elif grep -q -e "could not be had" -e "is nowhere" <<<"$said"; then
    skip "rules and dashboard: promtool cannot be had here"
else
    check "rules, alerts and the dashboard's queries, with promtool" bash -c 'printf "%s\n" "$1"; false' _ "$said"
fi
for file in deploy/compose/prometheus.yml deploy/compose/grafana/*.yaml; do
    check "$file is YAML" "$tools/python" -c 'import sys, ruamel.yaml; ruamel.yaml.YAML(typ="safe").load(open(sys.argv[1]))' "$file"
done

printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "${#skipped[@]}"
if [[ ${DEPLOY_CHECK_STRICT:-} == 1 ]] && ((${#skipped[@]} > 0)); then
    echo "DEPLOY_CHECK_STRICT=1: what was skipped has to be there" >&2
    exit 1
fi
((failed == 0))
