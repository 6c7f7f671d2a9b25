# Sets up .venv for tools/run and tools/test. Sourced, not run. Quick when there is nothing to do.
#
#   AMBIENT_PYTHON   the Python to use (3.11 or newer; default: python3 if that is new enough, else any that is)
#   AMBIENT_TORCH    what to install as torch (default: torch==2.13.0; a machine with a GPU may want its own build)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
torch=${AMBIENT_TORCH:-torch==2.13.0}

fail() {
  printf 'ambient: %s\n' "$*" >&2
  exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  if [ -n "${AMBIENT_PYTHON:-}" ]; then
    new_enough "$AMBIENT_PYTHON" || fail "AMBIENT_PYTHON=$AMBIENT_PYTHON is no Python 3.11 or newer."
    printf '%s' "$AMBIENT_PYTHON"
    return
  fi
  local name
  for name in python3 python3.12 python3.11 python3.13 python; do
    if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then
      printf '%s' "$name"
      return
    fi
  done
  fail "Python 3.11 or newer is needed; found $(python3 --version 2>/dev/null || echo none).
  Install one (for instance 'apt install python3.11-venv' or 'brew install python@3.12'),
  or name one: AMBIENT_PYTHON=/path/to/python3.12 $0"
}

# setup EXTRAS: "" to run, "dev" to test as well
setup() {
  local extras=$1 python stamp want
  want=$(printf '%s|%s|%s' "$torch" "$extras" "$(cksum <"$root/pyproject.toml")")
  stamp="$venv/.ambient-setup${extras:+-$extras}"
  if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
    return
  fi
  python=$(find_python) || exit 1
  local free
  free=$(df -Pk "$root" | awk 'NR == 2 {print $4}')
  if [ ! -x "$venv/bin/python" ] && [ "${free:-99999999}" -lt 3000000 ]; then
    fail "setting up needs about 3 GB of disk in $root, but only $((free / 1024)) MB are free. Make room and run this again."
  fi
  printf 'ambient: setting up %s (once, a few minutes)\n' "$venv" >&2
  if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || fail "'$python -m venv' failed; on Debian and Ubuntu: apt install python3-venv"
  fi
  local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
  # torch comes first and by itself, so that nothing below pulls another, larger build.
  "${pip[@]}" $torch || fail "installing $torch failed (see above). With a GPU, or another platform: AMBIENT_TORCH='torch' $0"
  "${pip[@]}" --editable "$root${extras:+[$extras]}" ||
    fail "installing failed (see above): is there a network, and room on the disk ($(df -Ph "$root" | awk 'NR == 2 {print $4}') free)? Run this again: it goes on where it stopped."
  printf '%s' "$want" >"$stamp"
}
