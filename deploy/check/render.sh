#!/usr/bin/env bash
# The plain manifests in deploy/kubernetes, rendered from the chart.
#   render.sh              renders all of them anew (make render)
#   render.sh --verify X   fails when chart or values have changed since X was rendered; needs no helm
#   render.sh --compare X  fails when helm renders something else
#   render.sh --studio F   renders the example of a whole system into F, without the NATS chart
#   render.sh --helm       prints the helm that is used: HELM, PATH, .tools/bin
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export HELM_CACHE_HOME=$root/.tools/helm HELM_CONFIG_HOME=$root/.tools/helm HELM_DATA_HOME=$root/.tools/helm
# What the templates are rendered for; a helm that was built by Go says 1.20.
kubernetes=1.33.0

find_helm() {
    local candidate
    for candidate in "${HELM:-}" "$(type -P helm || true)" .tools/bin/helm; do
        [[ -n $candidate && -x $candidate ]] && { printf '%s\n' "$candidate"; return; }
    done
    return 1
}
digest() {
    { find deploy/helm/mcp-agent -type f | LC_ALL=C sort | xargs sha256sum; sha256sum "deploy/kubernetes/$1.values.yaml"; } |
        sha256sum | cut -d ' ' -f 1
}
render() {
    printf '# Rendered from deploy/helm/mcp-agent with %s.values.yaml by `make render`: change those.\n# SHA-256 of both: %s\n' "$1" "$(digest "$1")"
    "$helm" template "$1" deploy/helm/mcp-agent --kube-version "$kubernetes" --values "deploy/kubernetes/$1.values.yaml"
}
all() {
    local file name
    for file in deploy/kubernetes/*.values.yaml; do
        name=$(basename "$file" .values.yaml)
        render "$name" >"deploy/kubernetes/$name.yaml.new"
        mv "deploy/kubernetes/$name.yaml.new" "deploy/kubernetes/$name.yaml"
        echo "deploy/kubernetes/$name.yaml"
    done
}
# A copy of the example in which the agents' chart lies as a package, and the NATS chart is no dependency.
studio() {
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    cp -r deploy/helm/studio "$work/studio"
    rm -rf "$work/studio/charts" "$work/studio/Chart.lock"
    mkdir -p "$work/studio/charts"
    "$helm" package deploy/helm/mcp-agent --destination "$work/studio/charts" >/dev/null
    python3 - "$work/studio/Chart.yaml" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
without, count = re.subn(r"  # The official chart.*?condition: nats.enabled\n", "", text, flags=re.S)
assert count == 1, "the NATS chart is not where it was"
open(sys.argv[1], "w").write(without)
PY
    "$helm" template studio "$work/studio" --kube-version "$kubernetes" >"$1"
}

if [[ ${1:-} == --verify ]]; then
    grep -qx "# SHA-256 of both: $(digest "$2")" "deploy/kubernetes/$2.yaml" ||
        { echo "the chart or its values have changed: make render"; exit 1; }
    exit
fi
helm=$(find_helm) || { [[ ${1:-} == --helm ]] || echo "there is no helm: make helm" >&2; exit 1; }
case ${1:-} in
    --helm) printf '%s\n' "$helm" ;;
    --compare) render "$2" | diff "deploy/kubernetes/$2.yaml" - || { echo "make render"; exit 1; } ;;
    --studio) studio "$2" ;;
    *) all ;;
esac
