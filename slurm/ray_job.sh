#!/usr/bin/env bash
# `ray job` on the Ray of a running service; ray_serve.sbatch's log has this line with the directory filled in.
#   bash slurm/ray_job.sh DIRECTORY submit -- periogt batch --input /abs/in.csv --property egc --output /abs/out.csv
#   bash slurm/ray_job.sh DIRECTORY list|status|logs|stop ...
# It runs as a step of the service's Slurm job, because Ray's dashboard listens only on the head node's loopback
# address. The batch takes the CPUs and the part of each GPU that the service leaves.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=slurm/env.sh
source "$root/slurm/env.sh"

if [[ ${1:-} == --help || ${1:-} == -h ]] || (($# < 2)); then
  sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  [[ ${1:-} == --help || ${1:-} == -h ]] || exit 2
  exit 0
fi
directory=$1 action=$2
shift 2
if [[ ! -r $directory/ray-job.env ]]; then
  periogt_fail "$directory/ray-job.env does not exist: the service has ended, has not started yet, or is not yours"
fi
periogt_job='' periogt_node='' periogt_dashboard=''
# shellcheck source=/dev/null
source "$directory/ray-job.env"
# shellcheck source=/dev/null
source "$directory/environment"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$directory/ray-token
# shellcheck disable=SC2016 # expanded by the inner shell
exec srun --jobid="$periogt_job" --overlap --nodes=1 --ntasks=1 --nodelist="$periogt_node" \
  bash -c 'source "$1/slurm/env.sh"; shift; periogt_prepare; periogt_exec "$@"' periogt "$root" \
  ray job "$action" --address "$periogt_dashboard" "$@"
