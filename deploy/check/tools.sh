#!/usr/bin/env bash
# Makes sure that the checkers of requirements.txt are in .tools/deploy, and prints the folder of their programs.
# Built again only when the requirements or the Python change; no network otherwise.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools/deploy
stamp=$tools/.made-from

say() { printf 'deploy-check: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

python=$(type -P python3) || die "python3 is needed for the checkers: install it"
made_from=$("$python" -c 'import sys; print(sys.version, sys.executable)' && printf '%s\n' "$tools" && cat "$here/requirements.txt")
if [[ ! -r $stamp || $(<"$stamp") != "$made_from" ]]; then
    say "installing the packages of deploy/check/requirements.txt from PyPI, once"
    rm -rf "$tools"
    mkdir -p "$tools/bin"
    pip=(-m pip install --quiet --no-input --disable-pip-version-check --requirement "$here/requirements.txt")
    export PIP_ROOT_USER_ACTION=ignore
    if "$python" -m venv "$tools/venv" >/dev/null 2>&1; then
        "$tools/venv/bin/python" "${pip[@]}" >&2 || die "pip could not install them (see above)"
        ln -s "$tools/venv/bin/"{check-jsonschema,hadolint,kubernetes-validate} "$tools/bin/"
        printf '#!/bin/sh\nexec %q "$@"\n' "$tools/venv/bin/python" >"$tools/bin/python"
        chmod 755 "$tools/bin/python"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian keeps venv in a package of its own: then they lie in a folder that PYTHONPATH names.
        "$python" "${pip[@]}" --target "$tools/lib" >&2 || die "pip could not install them (see above)"
        for program in check-jsonschema hadolint kubernetes-validate; do
            printf '#!/bin/sh\nPYTHONPATH=%q exec %q "$@"\n' "$tools/lib" "$tools/lib/bin/$program" >"$tools/bin/$program"
        done
        printf '#!/bin/sh\nPYTHONPATH=%q exec %q "$@"\n' "$tools/lib" "$python" >"$tools/bin/python"
        chmod 755 "$tools/bin/"*
    else
        die "$python has neither venv nor pip: install one of the packages python3-venv and python3-pip"
    fi
    # Written last: an installation that was interrupted leaves no stamp and is done again.
    printf '%s\n' "$made_from" >"$stamp"
fi
printf '%s\n' "$tools/bin"
