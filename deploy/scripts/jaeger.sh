#!/usr/bin/env bash
# Starts Jaeger v2 in the foreground, with deploy/observability/jaeger.yaml: OTLP on 127.0.0.1:4317 (gRPC) and 4318 (HTTP), UI and
# API on 127.0.0.1:16686. `jaeger.sh --path` prints where the program is instead (building it when it must), and
# `jaeger.sh --find` does so only when it is there already.
#
# Looked for in this order: MCP_JAEGER, `jaeger` on PATH, .tools/bin/jaeger. When it is nowhere: built from source into .tools
# where Go is (about 10 minutes on 2 cores, once), else the container image is run by docker or podman.
set -euo pipefail

release=v2.13.0 # Jaeger's own number
module=v1.76.0  # the same release, as the Go module is numbered
image=jaegertracing/jaeger:${release#v}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool=$root/.tools/bin/jaeger
config=$root/deploy/observability/jaeger.yaml

say() { printf 'jaeger: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# Version 1 has neither this command nor this configuration.
is_v2() { "$1" components </dev/null 2>/dev/null | grep -q jaeger_storage_exporter; }

found() {
    # A Jaeger that was named is used or refused, never silently replaced by another one.
    if [[ -n ${MCP_JAEGER:-} ]]; then
        is_v2 "$MCP_JAEGER" || die "MCP_JAEGER=$MCP_JAEGER is not a Jaeger v2 that runs here"
        printf '%s\n' "$MCP_JAEGER"
        return
    fi
    local on_path
    while read -r on_path; do
        if is_v2 "$on_path"; then
            printf '%s\n' "$on_path"
            return
        fi
        say "passing over $on_path: it is no Jaeger v2"
    done < <(type -aP jaeger)
    [[ -x $tool ]] && is_v2 "$tool" && printf '%s\n' "$tool"
}

built() {
    type -P go >/dev/null || die "there is no Jaeger v2, and no Go to build it: install one of them, or set MCP_JAEGER"
    mkdir -p "${tool%/*}"
    # No local: the trap runs when this function has ended.
    work=$(mktemp -d "$root/.tools/jaeger.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "building $release from source, once: about 10 minutes on 2 cores"
    # Its module replaces another one, which `go install` refuses: so it is a tool of a module of its own.
    (
        cd "$work"
        go mod init jaeger.local
        go get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$module"
        go build -ldflags "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=$release" \
            -o jaeger github.com/jaegertracing/jaeger/cmd/jaeger
    ) >"$work/said" 2>&1 || { tail -n 20 "$work/said" >&2; die "it does not build (see above)"; }
    is_v2 "$work/jaeger" || die "what was built is no Jaeger v2"
    mv -f "$work/jaeger" "$tool"
    say "the web pages are no part of a build from source: the API answers, / says that there is no UI"
    printf '%s\n' "$tool"
}

contained() {
    local engine
    engine=$(type -P docker || type -P podman) ||
        die "there is no Jaeger v2, no Go to build it and neither docker nor podman: install one of them, or set MCP_JAEGER"
    say "running $image by ${engine##*/}"
    exec "$engine" run --rm -p 127.0.0.1:4317:4317 -p 127.0.0.1:4318:4318 -p 127.0.0.1:16686:16686 "$image"
}

case ${1:-} in
--find) found || exit 1; exit ;;
--path) found || built; exit ;;
"") ;;
*) die "usage: jaeger.sh [--find | --path]" ;;
esac

if ! program=$(found); then
    [[ -z ${MCP_JAEGER:-} ]] || exit 1
    type -P go >/dev/null || contained
    program=$(built)
fi
say "OTLP on ${JAEGER_OTLP_GRPC:-127.0.0.1:4317} and ${JAEGER_OTLP_HTTP:-127.0.0.1:4318}, UI and API on http://${JAEGER_UI:-127.0.0.1:16686}; Ctrl-C ends it"
exec "$program" --config "$config"
