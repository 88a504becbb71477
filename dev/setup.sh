# shellcheck shell=bash
# Set-up that ./dev/demo, ./dev/test and ./dev/lint share: sourced by them, it defines functions and changes nothing.
#
# On Debian and Ubuntu it installs missing system packages, when it may; anywhere else it says what is missing.
# All Python packages go into .venv in the checkout. pip and apt run with the user's own configuration.
# Written for bash 3.2 as well, which is what macOS has.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

# Shared libraries that the Qt and OpenGL parts of the Python packages take from the system, and their Debian packages.
# Those that come as dependencies of these are left out. libfontconfig brings a font too.
libraries="
libGL.so.1              libgl1
libEGL.so.1             libegl1
libglib-2.0.so.0        libglib2.0-0
libdbus-1.so.3          libdbus-1-3
libfontconfig.so.1      libfontconfig1
libX11-xcb.so.1         libx11-xcb1
libxcb-cursor.so.0      libxcb-cursor0
libxcb-icccm.so.4       libxcb-icccm4
libxcb-keysyms.so.1     libxcb-keysyms1
libxcb-shape.so.0       libxcb-shape0
libxkbcommon-x11.so.0   libxkbcommon-x11-0
"

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

has_display() { [ "$(uname)" != Linux ] || [ -n "${DISPLAY:-}" ] || [ -n "${WAYLAND_DISPLAY:-}" ]; }

# The Debian packages that are missing for what is asked: bare (no window will open), qt (windows on the display that is
# there), virtual (windows on a virtual display).
missing_packages() { # bare, qt or virtual
  [ "$(uname)" = Linux ] && [ "$1" != bare ] || return 0
  local known soname package
  known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
  while read -r soname package; do
    case $soname in '') continue ;; esac
    case $known in *"$soname "*) ;; *) echo "$package" ;; esac
  done <<<"$libraries"
  if [ "$1" = virtual ]; then
    command -v xvfb-run >/dev/null || echo xvfb
    command -v xauth >/dev/null || echo xauth # xvfb-run needs it, but its package does not depend on it
  fi
}

# The first Python that is new enough. The user's own python3 comes first; each is run, as a shim may lead nowhere.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
}

may_install() { # root, or sudo that asks for no password
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

apt_install() {
  local as_root=env bundle=/etc/ssl/certs/ca-certificates.crt kept=
  [ "$(id -u)" = 0 ] || as_root="sudo -n env"
  say "Installing system packages: $*"
  # python3-venv brings ca-certificates, whose installation rewrites the bundle of trusted certificates. One that the
  # administrator has put there by hand (with a company's own authority in it, say) must outlive that.
  if [ -s "$bundle" ] && [ "$(dpkg-query -W -f '${db:Status-Status}' ca-certificates 2>/dev/null)" != installed ]; then
    kept=$(mktemp)
    cat "$bundle" >"$kept"
  fi
  # One broken source among many is no reason to stop: whether the packages are to be had shows at the installation.
  $as_root apt-get update -qq </dev/null || say "apt-get update failed, going on with the package lists that are there."
  $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null ||
    die "Could not install these system packages: $*. The lines above say why."
  if [ -n "$kept" ]; then
    $as_root cp "$kept" "$bundle"
    rm -f "$kept"
  fi
}

need_system() { # bare, qt or virtual
  local packages python
  packages=$(missing_packages "$1" | tr '\n' ' ')
  if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    if [ -z "$python" ]; then
      # Only where there is none at all. An old python3 is what this system offers, and installing it again is no help.
      command -v python3 >/dev/null || packages="python3 python3-venv $packages"
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      # Debian has these in a package of their own.
      packages="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv $packages"
    fi
  fi
  packages=${packages% }
  [ -n "$packages" ] || return 0
  if may_install; then
    # shellcheck disable=SC2086  # a list of words
    apt_install $packages
  elif command -v apt-get >/dev/null; then
    die "System packages are missing. Please run:  sudo apt-get install $packages"
  else
    # Other names in other distributions, and perhaps only other places: so a word, and on we go.
    say "These seem to be missing (Debian's names; please install your system's packages for them): $packages"
  fi
}

make_venv() {
  local python mark=$venv/.made-for
  if [ -e "$venv" ] && [ ! -e "$mark" ]; then
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
      die "$venv is there, but these scripts did not make it, and it has no pip. Please move it away."
    return 0 # somebody's own environment: used, not replaced
  fi
  # A venv keeps absolute paths, so one in a moved checkout is made anew; as is one whose Python has gone, or whose
  # making was cut short.
  if [ -e "$venv" ] &&
    ! { [ "$(cat "$mark")" = "$root" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    rm -rf "$venv"
  fi
  if [ ! -e "$venv" ]; then
    python=$(find_python)
    [ -n "$python" ] || die "Python 3.11 or newer is needed, and $(python3 --version 2>/dev/null || echo none) was found." \
      "Please install one with its venv module, or name it:  PYTHON=/path/to/python3 $0"
    say "Making .venv with $("$python" --version) ..."
    mkdir "$venv"
    echo "$root" >"$mark"
    "$python" -m venv "$venv" || die "Could not make the virtual environment $venv with $python."
    # The pip that comes with an old Python knows neither dependency groups nor the system's certificates.
    run_pip install --no-compile --upgrade pip
  fi
}

run_pip() { # progress bars for a person, only errors for a log
  local quiet=
  [ -t 2 ] || quiet="--quiet --quiet"
  # shellcheck disable=SC2086  # words
  (cd "$root" && "$venv/bin/python" -m pip --disable-pip-version-check $quiet "$@" --constraint constraints.txt </dev/null)
}

# Install something into the venv, once for each state of the files that decide what is installed.
install_python() { # name, pip arguments ...
  local name=$1 state
  shift
  state=$(cd "$root" && cat pyproject.toml constraints.txt | cksum)
  [ "$(cat "$venv/.installed-$name" 2>/dev/null)" != "$state" ] || return 0
  say "Installing Python packages ($name) ..."
  run_pip install --no-compile "$@" || die "pip could not install the Python packages. The lines above say why."
  echo "$state" >"$venv/.installed-$name"
}

set_up() { # bare, qt or virtual
  # pip would compile all the 16,000 modules, for almost a minute. Those that are used are compiled when they first run,
  # and this is why the compiled form must be kept.
  unset PYTHONDONTWRITEBYTECODE
  need_system "$1"
  make_venv
  install_python package --editable '.[all,test]'
}
