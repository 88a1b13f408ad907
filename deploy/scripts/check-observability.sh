#!/usr/bin/env bash
# Checks deploy/observability with promtool: the rules, when alerts fire, and every query of the dashboard.
#
# promtool is looked for in MCP_PROMTOOL, PATH, .tools/bin. Where it is nowhere and apt-get is there, it is unpacked from
# Debian's package `prometheus` into .tools, without an installation.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$root/deploy/observability

say() { printf 'check-observability: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

unpacked() {
    local work
    type -P apt-get >/dev/null && type -P dpkg-deb >/dev/null ||
        die "promtool is nowhere: install Prometheus, or set MCP_PROMTOOL to its promtool"
    mkdir -p "$root/.tools/bin"
    work=$(mktemp -d "$root/.tools/promtool.XXXXXX")
    say "unpacking promtool from Debian's package prometheus, once"
    # A new machine may not know the packages yet, and only root can tell it.
    fetched() { apt-get download --quiet=2 prometheus >/dev/null 2>"$work/said"; }
    (cd "$work" && { fetched || { ((EUID == 0)) && apt-get update --quiet=2 >/dev/null 2>&1 && fetched; }; } && dpkg-deb -x ./*.deb .) || {
        cat "$work/said" >&2
        rm -rf "$work"
        die "the package could not be had (apt-get update?): install Prometheus, or set MCP_PROMTOOL"
    }
    mv "$work/usr/bin/promtool" "$root/.tools/bin/promtool"
    rm -rf "$work"
}

if [[ -n ${MCP_PROMTOOL:-} ]]; then
    promtool=$MCP_PROMTOOL
elif ! promtool=$(type -P promtool); then
    promtool=$root/.tools/bin/promtool
    [[ -x $promtool ]] || unpacked
fi
"$promtool" --version >/dev/null 2>&1 || die "$promtool is no promtool that runs here"

"$promtool" check rules "$folder/rules.yml"
"$promtool" check config --syntax-only "$folder/prometheus.yml"
(cd "$folder" && "$promtool" test rules rules.test.yml)

# promtool reads no dashboards: their queries become recording rules, with something in the place of Grafana's variables.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$folder/dashboard.json" >"$work/dashboard.yml" <<'PY'
import json, sys
dashboard = json.load(open(sys.argv[1]))
queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
assert queries, "the dashboard asks nothing"
for variable, value in [("$__rate_interval", "5m"), ("$agent", ".*"), ("$definition", ".*")]:
    queries = [query.replace(variable, value) for query in queries]
rules = [{"record": f"dashboard:query:{number}", "expr": query} for number, query in enumerate(queries)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
PY
"$promtool" check rules "$work/dashboard.yml"
