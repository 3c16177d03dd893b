#!/usr/bin/env bash
# Makes a Conda environment with the package, for clusters without Apptainer. May be run again: it goes on where it was
# interrupted, and does nothing if nothing has changed.
# Usage: deploy/conda/install.sh [OPTION]...
#   --prefix DIR          the environment (default: $PERIOGT_BASE_DIR/conda, else ~/periogt/conda)
#   --torch-version V     version of torch (default: 2.6.0)
#   --torch-index URL     index of its build (default: https://download.pytorch.org/whl/cu126)
# Step one: Conda makes the environment from environment.yml. Step two: pip installs torch and the package into it.
set -euo pipefail

die() { echo "deploy/conda/install.sh: $1" >&2; exit 2; }
say() { echo "deploy/conda/install.sh: $1" >&2; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=${PERIOGT_BASE_DIR:-$HOME/periogt}/conda
torch_version=2.6.0 torch_index=https://download.pytorch.org/whl/cu126
while (($#)); do
  case $1 in
    --prefix | --torch-version | --torch-index) [[ -n ${2:-} ]] || die "$1 needs a value; see --help" ;;&
    --prefix) prefix=$2 && shift ;;
    --torch-version) torch_version=$2 && shift ;;
    --torch-index) torch_index=$2 && shift ;;
    -h | --help) usage && exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
prefix=$(realpath -m -- "$prefix")

conda=$(command -v conda || command -v mamba || true)
[[ -n $conda ]] || die "conda is not on PATH; load its module (\`module avail conda\` lists them), or use the container"
mkdir -p "$(dirname "$prefix")" || die "$(dirname "$prefix") cannot be made; choose another --prefix"
# One installation at a time; a second one waits and then finds the work done.
exec 9>"$prefix.lock"
flock --nonblock 9 || { say "waiting for another installation in $prefix"; flock 9; }

stamp=$prefix/periogt-installed-from
wanted="$(cd "$root" && find pyproject.toml requirements.lock deploy/conda periogt_ray periogt_hpc -type f -not -path '*/__pycache__/*' \
  -exec sha256sum {} + | LC_ALL=C sort | sha256sum) torch $torch_version $torch_index"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then say "$prefix is up to date" && exit 0; fi
rm -f "$stamp"

# Packages are kept beside the environment: in the home directory they would use up its quota.
export CONDA_PKGS_DIRS=${CONDA_PKGS_DIRS:-$prefix.packages} PYTHONNOUSERSITE=1
# An active environment or a PYTHONPATH must not have a say in this one.
unset PYTHONPATH PYTHONHOME
say "step 1: Python, by $conda"
action=update
if [[ ! -d $prefix/conda-meta ]]; then
  # What an interrupted first step left is not an environment.
  [[ ! -e $prefix ]] || die "$prefix exists and is not a Conda environment; remove it or choose another --prefix"
  action=create
fi
"$conda" env "$action" --quiet --prefix "$prefix" --file "$here/environment.yml" >&2 ||
  die "step 1 failed, see above; where conda-forge cannot be reached, run it on a transfer node, or use the container"

say "step 2: torch $torch_version and the package, by pip"
constraints=$prefix/periogt-constraints.txt
grep -v -e '^torch==' -e '^sympy==' "$root/requirements.lock" >"$constraints"
pip=("$prefix/bin/python" -m pip --quiet --no-cache-dir --disable-pip-version-check install --constraint "$constraints")
"${pip[@]}" --extra-index-url "$torch_index" "torch==$torch_version" >&2
"${pip[@]}" "$root" >&2 # a directory is installed anew even if its version is there already

# Set when the environment is activated, and put back when it is left.
for hook in activate deactivate; do
  mkdir -p "$prefix/etc/conda/$hook.d"
  cp "$here/$hook.sh" "$prefix/etc/conda/$hook.d/periogt.sh"
done
"$prefix/bin/python" -m periogt_ray.polymer.descriptors >&2
printf '%s' "$wanted" >"$stamp"
say "done: \`conda activate $prefix\`, then \`periogt doctor\`; for the Slurm scripts: export PERIOGT_RUNTIME=venv PERIOGT_VENV=$prefix"
