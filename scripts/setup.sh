#!/usr/bin/env bash
# Builds .venv: the packages of setup.py in the versions of constraints.txt, this checkout as an editable install,
# and the messages. `make` calls it before every target; when nothing changed it only compares fingerprints.
#
# .venv/.setup/ says how far a build came. `packages` and `messages` hold the fingerprint of what their step was made
# from; a step removes its file before it starts and writes it when it is done, so an interrupted one shows.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly checkout=$PWD venv=$PWD/.venv state=$PWD/.venv/.setup logs=$PWD/build/setup
readonly needed_mb=8192 # 3 GB with the CPU build of torch, 6 GB with the CUDA build, and what pip unpacks from

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Fingerprint of files and folders by name and content, and of the words after --.
fingerprint() {
  local files=()
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  { find "${files[@]}" -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; echo "$@"; } \
    | sha256sum | cut -d' ' -f1
}

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

supported() { case $1 in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac; }

# The interpreter to build with: $PYTHON where it is given, else the first supported one on the PATH.
find_python() {
  local candidate version
  if [ -n "${PYTHON:-}" ]; then
    version=$(python_version "$PYTHON") || fail "PYTHON=$PYTHON does not run; name a Python 3.11, 3.12 or 3.13"
    supported "$version" || fail "PYTHON=$PYTHON is Python $version; r3d2_ros needs Python 3.11, 3.12 or 3.13"
    echo "$PYTHON"
    return
  fi
  for candidate in python3 python3.12 python3.13 python3.11; do
    version=$(python_version "$candidate") && supported "$version" && { echo "$candidate"; return; }
  done
  fail "no Python 3.11, 3.12 or 3.13 on the PATH; install one, or name it: make setup PYTHON=/path/to/python3.12"
}

check_disk() {
  local free_mb
  free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
  [ "$free_mb" -ge "$needed_mb" ] \
    || fail "the disk of $checkout has $free_mb MB free and the environment needs $needed_mb MB; make room and run it again"
}

check_compiler() {
  local tool include
  for tool in cc c++; do
    command -v "$tool" >/dev/null || fail "no C++ compiler ($tool) on the PATH; on Debian or Ubuntu: apt install g++"
  done
  include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -f "$include/Python.h" ] \
    || fail "the headers of $1 are missing ($include/Python.h); on Debian or Ubuntu: apt install python3-dev"
}

# logged NAME COMMAND...: runs it with its output in a log file, of which a failure shows the end.
logged() {
  local log=$logs/$1.log
  shift
  "$@" >"$log" 2>&1 && return
  tail -n 15 "$log" >&2
  fail "this failed: $1 ... (all of its output: ${log#"$checkout"/})"
}

# True when .venv was finished once, was made for this folder, still runs, and is of the Python asked for.
usable() {
  [ -f "$state/packages" ] && [ "$(cat "$state/folder")" = "$checkout" ] || return 1
  local version
  version=$(python_version "$venv/bin/python") || return 1
  [ -z "${PYTHON:-}" ] || [ "$version" = "$(python_version "$PYTHON")" ]
}

make_venv() {
  local python
  python=$(find_python)
  [ ! -e "$venv" ] || [ -d "$state" ] \
    || fail "$venv exists and was not made by 'make setup'; move it away or delete it, then run this again"
  check_compiler "$python"
  check_disk
  if [ -e "$venv" ]; then
    say "making .venv anew: it is unfinished, of another Python or of another folder"
    rm -rf "$venv"
  fi
  mkdir -p "$state"
  echo "$checkout" >"$state/folder"
  say "making .venv with $python ($(python_version "$python"))"
  logged venv "$python" -m venv "$venv"
}

install_packages() {
  say "installing the packages; the first time takes some minutes"
  local pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input --constraint constraints.txt)
  logged pip-setuptools "${pip[@]}" setuptools
  logged pip "${pip[@]}" --no-build-isolation --editable '.[gpu,harmonizer,evaluation,training,ray,ros,dev]'
  # Without what it asks for: torchvision, of whose builds on PyPI none can be imported beside a CPU build of torch, and
  # which other packages would then try to import. Only lpips' file of numbers is read.
  logged pip-lpips "${pip[@]}" --no-deps lpips
}

# build_interfaces NAME SOURCE OPTION...: one CMake package with messages, installed into .venv.
build_interfaces() {
  local name=$1 source=$2 build=$logs/$1
  shift 2
  rm -rf "$venv/share/$name" # a launch or configuration file that was removed goes from the installation too
  logged "$name-configure" "$venv/bin/cmake" -S "$source" -B "$build" -G Ninja "$@" \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_PREFIX_PATH="$venv" \
    -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_INSTALL_DIR="${messages#"$venv"/}"
  logged "$name-build" "$venv/bin/cmake" --build "$build" --target install
}

# The generated packages lie in a folder of their own behind site-packages: r3d2_ros there is only the messages, and
# the checkout, which comes first, takes them in.
build_messages() {
  say "building the messages"
  check_compiler "$venv/bin/python"
  local site=$1 messages=${1%/*}/messages
  export AMENT_PREFIX_PATH=$venv PATH=$venv/bin:$PATH
  build_interfaces r3d2_ros . -DR3D2_INSTALL_PYTHON=OFF
  [ -e "$site/tf2_msgs" ] || build_interfaces tf2_msgs cmake/tf2_msgs
  rm -rf "$messages"/*.egg-info # the package's metadata is the one pip wrote
  echo "$messages" >"$site/r3d2_ros_messages.pth"
}

check_result() {
  (cd / && "$venv/bin/python" -c "
import r3d2_ros
from r3d2_ros.msg import ActorArray, FrameSet
from tf2_msgs.msg import TFMessage
from rclpy.type_support import check_for_type_support
for message in (ActorArray, FrameSet, TFMessage):
    check_for_type_support(message)
assert r3d2_ros.__file__ == '$checkout/r3d2_ros/__init__.py', r3d2_ros.__file__
")
}

mkdir -p "$logs"
exec 9>"$logs/lock"
flock --nonblock 9 || { say "waiting for another 'make' that is setting up this folder"; flock 9; }

usable || make_venv

packages=$(fingerprint constraints.txt setup.py -- "$checkout")
if [ "$(cat "$state/packages" 2>/dev/null)" != "$packages" ]; then
  rm -rf "$state/packages" "$state/messages" "$logs"/{r3d2_ros,tf2_msgs}
  install_packages
  echo "$packages" >"$state/packages"
fi

messages=$(fingerprint CMakeLists.txt package.xml cmake msg launch config scripts/setup.sh -- "$packages")
if [ "$(cat "$state/messages" 2>/dev/null)" != "$messages" ]; then
  rm -f "$state/messages"
  build_messages "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  logged check check_result
  echo "$messages" >"$state/messages"
  say "ready"
fi
