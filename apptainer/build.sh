#!/usr/bin/env bash
# Builds the container image and prints its path and SHA-256.
# Usage: apptainer/build.sh [OPTION]... [-- ARGUMENT OF apptainer build...]
#   --output FILE         the image (default: periogt.sif in the current directory)
#   --force               replace an image that exists
#   --torch-version V     version of torch (default: that of periogt.def, 2.6.0)
#   --torch-index URL     index of its build (default: that of periogt.def, for CUDA 12.6)
#   --no-fakeroot         as an ordinary user, build without --fakeroot
# Cache and temporary files go below PERIOGT_BASE_DIR, else beside the image, and never below the home directory,
# whose quota they would use up; APPTAINER_CACHEDIR and APPTAINER_TMPDIR, where set, are left as they are.
set -euo pipefail

die() { echo "apptainer/build.sh: $1" >&2; exit 2; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
output=$PWD/periogt.sif is_forced='' fakeroot=auto
build_args=() more=()
while (($#)); do
  case $1 in
  --output | --torch-version | --torch-index) [[ -n ${2:-} ]] || die "$1 needs a value; see --help" ;;&
  --output) output=$(realpath -m -- "$2") && shift ;;
  --torch-version) build_args+=(--build-arg "TORCH_VERSION=$2") && shift ;;
  --torch-index) build_args+=(--build-arg "TORCH_INDEX=$2") && shift ;;
  --force) is_forced=1 ;;
  --no-fakeroot) fakeroot=no ;;
  -h | --help) usage && exit 0 ;;
  --) shift && more=("$@") && break ;;
  *) die "unknown option $1; see --help" ;;
  esac
  shift
done

command -v apptainer >/dev/null ||
  die "apptainer is not on PATH. On CADES and Explorer it is installed on the nodes; on a workstation install the \
package from https://github.com/apptainer/apptainer/releases, build there and upload the image"
directory=$(dirname "$output")
mkdir -p "$directory" 2>/dev/null || die "$directory cannot be made; choose another --output"
[[ -w $directory ]] || die "$directory cannot be written to; choose another --output"
if [[ -e $output && -z $is_forced ]]; then die "$output exists; --force replaces it, --output names another"; fi

# scratch NAME: a directory of ours for what the build leaves behind, off the home directory.
scratch() {
  local above=${PERIOGT_BASE_DIR:-$directory}
  case $(realpath -m -- "$above")/ in "$(realpath -m -- "${HOME:-/nonexistent}")"/*) above=/var/tmp/apptainer-$UID ;; esac
  mkdir -p "$above/.apptainer/$1" || die "$above/.apptainer cannot be made; choose another --output"
  chmod 700 "$above/.apptainer"
  printf '%s' "$above/.apptainer/$1"
}
if [[ -z ${APPTAINER_CACHEDIR:-} ]]; then APPTAINER_CACHEDIR=$(scratch cache); fi
if [[ -z ${APPTAINER_TMPDIR:-} ]]; then APPTAINER_TMPDIR=$(scratch tmp); fi
export APPTAINER_CACHEDIR APPTAINER_TMPDIR
mkdir -p "$APPTAINER_CACHEDIR" "$APPTAINER_TMPDIR" || die "APPTAINER_CACHEDIR or APPTAINER_TMPDIR cannot be made"
free_gib=$(($(df --output=avail -k "$APPTAINER_TMPDIR" | tail -n 1) / 1048576))
# Estimated, not measured: the base, torch with its CUDA libraries, the rest, and the image made from them.
if ((free_gib < 25)); then
  echo "apptainer/build.sh: only $free_gib GiB free in $APPTAINER_TMPDIR; a build for CUDA takes about 25" >&2
fi

if ((EUID != 0)) && [[ $fakeroot == auto ]]; then
  # Not piped into grep: that may end first, and the pipe would count as failed.
  if [[ $(apptainer build --help 2>&1) == *--fakeroot* ]]; then
    more=(--fakeroot "${more[@]}")
  else
    die "this apptainer builds as root alone; build on a workstation as root and upload the image"
  fi
fi

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/periogt_ray/__init__.py")
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
partial=$(mktemp -u -- "$directory/.periogt-XXXXXX.sif")
trap 'rm -f -- "$partial"' EXIT
cd "$root" # the definition names its files from here
apptainer build "${more[@]}" --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" "${build_args[@]}" \
  "$partial" apptainer/periogt.def >&2 ||
  die "the build failed, see above. Out of space: set APPTAINER_TMPDIR to a larger file system. Not permitted: ask for \
an entry in /etc/subuid, or build on a workstation and upload the image"
mv -f -- "$partial" "$output"
sum=$(sha256sum -- "$output" | cut -d ' ' -f 1)
printf '%s  %s\n' "$sum" "$(basename "$output")" >"$output.sha256"
echo "$output"
echo "sha256 $sum"
