#!/usr/bin/env bash
# Runs `periogt doctor` as the Slurm scripts run the package: in the container, with its binds and --nv, or in the venv.
# Usage: scripts/doctor.sh [--json] [--hashes]     (PERIOGT_CONTAINER, PERIOGT_RUNTIME and the rest as in slurm/env.sh)
# What only shows from outside of a container is told first, on standard error. Exit status: 0 PASS, 1 WARN, 2 FAIL.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ${1:-} == -h || ${1:-} == --help ]]; then sed -n '2,/^set /{/^set /d;s/^# //;p}' "$0" && exit 0; fi
# shellcheck source=slurm/env.sh
source "$root/slurm/env.sh"

worst=0
# told STATUS NAME MESSAGE [REMEDY]: a line of the report, as `periogt doctor` writes them.
told() {
  printf '%-4s  %-16s  %s\n' "$1" "$2" "$3" >&2
  if [[ -n ${4:-} ]]; then printf '%24s-> %s\n' '' "$4" >&2; fi
  if [[ $1 == WARN ]]; then worst=1; fi
}

# check_apptainer: its version, and whether --nv will bring what builds for CUDA 12 need.
check_apptainer() {
  local version list=${APPTAINER_CONFDIR:-/etc/apptainer}/nvliblist.conf library lacking=()
  version=$("${periogt_words[0]}" version)
  told PASS apptainer "$version (${periogt_words[0]})"
  compgen -G '/dev/nvidia[0-9]*' >/dev/null || return 0 # --nv is of no concern on a node without a GPU
  if [[ -r $list ]]; then
    for library in libcuda.so libnvidia-ml.so libnvidia-ptxjitcompiler.so libnvidia-nvvm.so; do
      grep -q "^[[:space:]]*$library" "$list" || lacking+=("$library")
    done
  fi
  if ((${#lacking[@]})); then
    told WARN nvliblist.conf "$list lacks ${lacking[*]} (Apptainer 1.2 lists the libraries of CUDA 11)" \
      "If torch sees no GPU below: have the administrator add them, or try --nvccli."
  fi
}

periogt_prepare
if [[ $PERIOGT_RUNTIME == apptainer ]]; then check_apptainer; fi
status=0
# Its report is for people also where it goes to a job's log, unless --json is given.
periogt_run periogt doctor --table "$@" || status=$?
if ((status > 2)); then
  echo "scripts/doctor.sh: the container did not start (status $status), see above; a directory to bind may be missing" >&2
  status=2
fi
exit $((status > worst ? status : worst))
