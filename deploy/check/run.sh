#!/usr/bin/env bash
# Checks everything in deploy/ that no compiler reads: Dockerfiles, the unit, the chart and what is rendered from it,
# rules and dashboards. `make deploy-check` calls it.
#
# What a machine lacks (helm, systemd) is passed over, and said so at the end. Nothing is passed over in silence.
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
if [[ -x deploy/scripts/check-observability.sh ]]; then
    if [[ -n ${MCP_PROMTOOL:-} || -x .tools/bin/promtool ]] || type -P promtool apt-get >/dev/null; then
        check "rules, alerts and the dashboard's queries, with promtool" deploy/scripts/check-observability.sh
    else
        skip "rules and dashboard: there is no promtool"
    fi
fi

printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "${#skipped[@]}"
((failed == 0))
