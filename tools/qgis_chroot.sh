#!/usr/bin/env bash
# Runs tests/qgis inside another QGIS than this machine's: that of a Debian release, in a chroot.
#
#     sudo tools/qgis_chroot.sh trixie /var/tmp/qgis-trixie [pytest arguments]     QGIS 3.40
#     sudo tools/qgis_chroot.sh forky  /var/tmp/qgis-forky  [pytest arguments]     the next release's
#
# The first call makes the chroot (about 2 GB, some minutes), later ones go straight to the tests. Needs root and
# Debian's or Ubuntu's `debootstrap`; packages come from debootstrap's default mirror, or from MIRROR.
#
# The engine is the clone's own environment (.venv, or HSI_PYTHON): it and its interpreter are bind-mounted,
# read-only, at the paths they have outside. So the interpreter must live in a folder of its own (pyenv, uv, conda)
# and not be the system's, which the chroot has its own version of. The mounts are in a namespace that ends
# with the script.
set -euo pipefail

release=${1:?usage: qgis_chroot.sh RELEASE CHROOT [pytest arguments]}
chroot=${2:?usage: qgis_chroot.sh RELEASE CHROOT [pytest arguments]}
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
python=${HSI_PYTHON:-$root/.venv/bin/python}
shared=$(realpath -m "${HSI_SHARED:-$root/../shared}")
packages='qgis python3-qgis python3-pytest python3-venv xvfb xauth'

fail() { echo "$1" >&2; exit 1; }

if [ -z "${HSI_CHROOT_NAMESPACE:-}" ]; then
  [ "$(id -u)" = 0 ] || fail 'A chroot needs root: run this with sudo.'
  [ -x "$python" ] || fail "The engine's environment is not there: $python. Run make setup."
  HSI_CHROOT_NAMESPACE=1 exec unshare --mount "$0" "$release" "$chroot" "$@"
fi

prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
environment=$("$python" -c 'import sys; print(sys.prefix)')
[ "$prefix" != /usr ] || fail "$python is the system's Python. Make .venv with one from pyenv, uv or conda."

mount_inside() { # SOURCE, OPTIONS of the bind mount
  mkdir -p "$chroot$1"
  mount --bind "$1" "$chroot$1"
  mount -o "remount,bind,$2" "$chroot$1"
}

inside() {
  chroot "$chroot" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "$@"
}

if [ ! -e "$chroot/etc/debian_version" ]; then
  command -v debootstrap >/dev/null || fail 'debootstrap is missing: apt install debootstrap'
  [ -e "/usr/share/debootstrap/scripts/$release" ] || fail "This debootstrap does not know $release: install a newer one."
  debootstrap --variant=minbase "$release" "$chroot" ${MIRROR:+"$MIRROR"}
fi

mount -t proc proc "$chroot/proc"
mount --bind /dev "$chroot/dev"
mount -t tmpfs -o mode=1777 tmpfs "$chroot/tmp"
if ! inside python3 -c 'import qgis.core, pytest, ensurepip' 2>/dev/null; then
  # No service of a package is to start here.
  printf '#!/bin/sh\nexit 101\n' >"$chroot/usr/sbin/policy-rc.d" && chmod +x "$chroot/usr/sbin/policy-rc.d"
  inside apt-get update -qq
  # shellcheck disable=SC2086
  inside apt-get install -qq -y --no-install-recommends $packages
  inside apt-get clean
fi

mount_inside "$prefix" ro
mount_inside "$root" ro
case "$environment" in "$root"/*) ;; *) mount_inside "$environment" ro ;; esac
[ ! -d "$shared" ] || mount_inside "$shared" ro

inside python3 -c 'from qgis.core import Qgis; from qgis.PyQt.QtCore import QT_VERSION_STR; import sys
print(f"QGIS {Qgis.QGIS_VERSION}, Qt {QT_VERSION_STR}, Python {sys.version.split()[0]}")'
"$python" -c 'import sys; print(f"Engine: Python {sys.version.split()[0]} of {sys.prefix}")'
inside /bin/sh -c 'cd "$1" && shift && exec "$@"' - "$root/tests/qgis" /usr/bin/env \
  QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONDONTWRITEBYTECODE=1 \
  HSI_PYTHON="$python" HSI_SHARED="$shared" CI="${CI:-}" \
  python3 -m pytest -p no:cacheprovider "$@"
