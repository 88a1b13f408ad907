#!/usr/bin/env bash
# Makes sure that .tools/venv/bin/python can import what tests/conformance/requirements.txt names,
# and prints that path, alone, on stdout. The clients of those tests share no code with the runtime.
#
# Built again only when the requirements or the Python change; no network otherwise. Where the venv module is
# missing (Debian keeps it in python3-venv), the packages go to .tools/pylib and .tools/venv/bin/python is a two-line
# script that puts them on the path: who uses it need not know which of the two it is.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
requirements=$root/tests/conformance/requirements.txt
venv=$root/.tools/venv
pylib=$root/.tools/pylib
stamp=$venv/.made-from

say() { printf 'conformance-python: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
pip() { PIP_ROOT_USER_ACTION=ignore "$@" --quiet --no-input --disable-pip-version-check --requirement "$requirements" >&2; }

[[ -r $requirements ]] || die "$requirements is missing"
python=$(type -P python3) || die "python3 is needed for the conformance tests: install it"

# The folder is part of the stamp because a venv does not survive being moved with its checkout.
made_from=$("$python" -c 'import sys; print(sys.version, sys.executable)' && printf '%s\n' "$root" && cat "$requirements")
if [[ -x $venv/bin/python && -r $stamp && $(<"$stamp") == "$made_from" ]]; then
    printf '%s\n' "$venv/bin/python"
    exit
fi

mkdir -p "$root/.tools"
# Two builds at once would pull the folder from under each other.
if type -P flock >/dev/null; then
    exec 9>"$root/.tools/venv.lock"
    flock 9
    if [[ -x $venv/bin/python && -r $stamp && $(<"$stamp") == "$made_from" ]]; then
        printf '%s\n' "$venv/bin/python"
        exit
    fi
fi

say "installing the packages of tests/conformance/requirements.txt from PyPI, once"
rm -rf "$venv" "$pylib"
if "$python" -m venv "$venv" >/dev/null 2>&1; then
    pip "$venv/bin/python" -m pip install || die "pip could not install them (see above)"
elif "$python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    mkdir -p "$venv/bin"
    pip "$python" -m pip install --target "$pylib" || die "pip could not install them (see above)"
    printf '#!/bin/sh\nPYTHONPATH=%q exec %q "$@"\n' "$pylib" "$python" >"$venv/bin/python"
    chmod 755 "$venv/bin/python"
else
    rm -rf "$venv"
    die "$python has neither venv nor pip: install one of the packages python3-venv and python3-pip"
fi
# Written last: a build that was interrupted leaves no stamp and is done again.
printf '%s\n' "$made_from" >"$stamp"
printf '%s\n' "$venv/bin/python"
