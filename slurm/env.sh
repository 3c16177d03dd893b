#!/usr/bin/env bash
# Sourced by the Slurm scripts, by doctor and by your own jobs: where things are, and how a command of the
# package is run. Defines functions and variables; starts nothing.
#
#   source /path/to/slurm/env.sh
#   periogt_prepare                     # checks the container or the venv; exit 2 with a message
#   periogt_bind /some/directory        # as often as needed: a directory that commands may read and write
#   periogt_run periogt properties      # runs the command in the container or the venv; a child process
#   periogt_exec python -m ...          # the same in place of this shell, so that signals reach the command
# and for the scripts here: periogt_check, periogt_on_nodes.
#
# PERIOGT_RUNTIME=apptainer (default) runs PERIOGT_CONTAINER (default: $PERIOGT_BASE_DIR/periogt.sif);
# PERIOGT_RUNTIME=venv runs the venv or Conda environment at PERIOGT_VENV (default: the active one, else .venv here).
# PERIOGT_BIND lists further directories for the container, separated by colons; APPTAINER_BIND works as ever.
# The values of your cluster come from site.env beside this file, if it is there; see site.env.example.

if [[ $0 == *.sbatch && (${1:-} == --help || ${1:-} == -h) ]]; then
  sed -n '2,${/^#SBATCH/q; s/^# \{0,1\}//; p}' "$0" # what the script says of itself
  exit 0
fi

periogt_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Without DGLBACKEND, DGL asks for a backend; a user's ~/.local would hide packages of the image.
export DGLBACKEND=pytorch PYTHONNOUSERSITE=1 RAY_USAGE_STATS_ENABLED=0

periogt_words=() # what goes before a command
periogt_binds=() # directories that the container sees, beside Apptainer's own defaults

periogt_fail() {
  echo "periogt: $*" >&2
  exit 2
}

if [[ $0 == *.sbatch && ${1:-} != --check && -z ${SLURM_JOB_ID:-} ]]; then
  periogt_fail "$(basename "$0") runs inside a job; submit it: sbatch [options] slurm/$(basename "$0") ..."
fi

# Reads the values of the site. PERIOGT_* and SBATCH_* of the environment win over them.
_periogt_site() {
  local periogt_file=${PERIOGT_SITE_ENV-} periogt_flags=$- periogt_name periogt_given=()
  if [[ -z ${PERIOGT_SITE_ENV+set} ]]; then
    periogt_file=$periogt_root/slurm/site.env
    # A link may lead to what this node does not see; that is refused below.
    if [[ ! -e $periogt_file && ! -L $periogt_file ]]; then periogt_file=; fi
  fi
  if [[ -z $periogt_file ]]; then return; fi
  [[ -f $periogt_file && -r $periogt_file ]] || periogt_fail "PERIOGT_SITE_ENV ($periogt_file) is not a file that can be" \
    "read on $(hostname); correct it, or set it to nothing"
  bash -n "$periogt_file" || periogt_fail "bash cannot read $periogt_file, see above; correct the file"
  if grep -q $'\r' "$periogt_file"; then
    periogt_fail "$periogt_file has Windows line ends; remove them: sed -i 's/\\r\$//' $periogt_file"
  fi
  while IFS= read -r periogt_name; do
    case $periogt_name in PERIOGT_* | SBATCH_*) periogt_given+=("$periogt_name=${!periogt_name}") ;; esac
  done < <(compgen -e)
  # Modules, too, fail in strict shells: they use variables that are not set.
  set +eu
  # shellcheck source=/dev/null
  source "$periogt_file"
  if [[ $periogt_flags == *e* ]]; then set -e; fi
  if [[ $periogt_flags == *u* ]]; then set -u; fi
  # Also what has no `export` in the file.
  while IFS= read -r periogt_name; do export "${periogt_name?}"; done < <(compgen -v PERIOGT_; compgen -v SBATCH_)
  for periogt_name in "${periogt_given[@]}"; do export "${periogt_name?}"; done
  while IFS= read -r periogt_name; do
    if [[ " ${periogt_given[*]%%=*} " != *" $periogt_name "* ]]; then periogt_unsubmitted+=("$periogt_name"); fi
  done < <(compgen -e SBATCH_)
  PERIOGT_SITE_ENV=$(realpath "$periogt_file")
  export PERIOGT_SITE_ENV
}

periogt_unsubmitted=() # variables for sbatch that only site.env has, and not the shell in which sbatch is called
_periogt_site

# periogt_bind DIR...: lets a container see directories under their own names; without a container it only checks them.
periogt_bind() {
  local dir bound
  for dir in "$@"; do
    [[ -d $dir ]] || periogt_fail "$dir is not a directory on $(hostname); create it or correct the path"
    # Apptainer takes a comma and a colon in --bind for separators.
    if [[ $dir == *[,:]* ]]; then periogt_fail "$dir holds a comma or a colon, which --bind cannot express; rename it"; fi
    dir=$(cd "$dir" && pwd)
    for bound in "${periogt_binds[@]}"; do [[ $bound != "$dir" ]] || continue 2; done
    periogt_binds+=("$dir")
  done
  # For the shells that this job starts on other nodes.
  PERIOGT_BIND=$(IFS=:; echo "${periogt_binds[*]}")
  export PERIOGT_BIND
}

# Directories: those that are set must exist, those that are not set are made.
_periogt_directories() {
  local name given
  IFS=: read -ra given <<<"${PERIOGT_BIND:-}"
  periogt_bind "${given[@]}"
  # PERIOGT_CACHE_DIR is the old name of PERIOGT_FEATURE_STORE.
  for name in PERIOGT_{BASE_DIR,CHECKPOINT_DIR,RESULTS_DIR,FEATURE_STORE,CACHE_DIR}; do
    if [[ -n ${!name:-} && ! -d ${!name} ]]; then
      periogt_fail "$name is set to ${!name}, which is not a directory on $(hostname); create it or correct the variable"
    fi
  done
  export PERIOGT_BASE_DIR=${PERIOGT_BASE_DIR:-$HOME/periogt}
  export PERIOGT_RESULTS_DIR=${PERIOGT_RESULTS_DIR:-$PERIOGT_BASE_DIR/results}
  mkdir -p "$PERIOGT_RESULTS_DIR" || periogt_fail "PERIOGT_RESULTS_DIR ($PERIOGT_RESULTS_DIR) cannot be made"
  periogt_bind "$PERIOGT_BASE_DIR" "$PERIOGT_RESULTS_DIR" ${PERIOGT_CHECKPOINT_DIR:+"$PERIOGT_CHECKPOINT_DIR"} \
    ${PERIOGT_FEATURE_STORE:+"$PERIOGT_FEATURE_STORE"} ${PERIOGT_CACHE_DIR:+"$PERIOGT_CACHE_DIR"}
  if [[ -n ${PERIOGT_MODELS:-} && -d $PERIOGT_MODELS ]]; then periogt_bind "$PERIOGT_MODELS"; fi
  if [[ -n ${TMPDIR:-} && -d $TMPDIR ]]; then periogt_bind "$TMPDIR"; fi
}

_periogt_apptainer() {
  local image=${PERIOGT_CONTAINER:-$PERIOGT_BASE_DIR/periogt.sif} name
  # Explorer has Apptainer on every node and no module for it; elsewhere it may be a module.
  if ! command -v apptainer >/dev/null && ! command -v singularity >/dev/null && [[ $(type -t module) == function ]]; then
    module load apptainer >/dev/null 2>&1 || true
  fi
  name=$(command -v apptainer || command -v singularity || true)
  if [[ -z $name ]]; then
    periogt_fail "apptainer is not on the PATH of $(hostname); load its module, or set PERIOGT_RUNTIME=venv"
  fi
  if [[ ! -e $image ]]; then
    periogt_fail "PERIOGT_CONTAINER ($image) does not exist on $(hostname); build it with apptainer/build.sh and name it" \
      "in PERIOGT_CONTAINER, or set PERIOGT_RUNTIME=venv"
  fi
  [[ -r $image ]] || periogt_fail "PERIOGT_CONTAINER ($image) cannot be read; ask its owner for read permission"
  periogt_words=("$name" exec --cleanenv)
  # GPUs that the job has; nvidia-smi's devices tell on a login node.
  if [[ ${SLURM_GPUS_ON_NODE:-0} != 0 || -n ${CUDA_VISIBLE_DEVICES:-} || (-z ${SLURM_JOB_ID:-} && -e /dev/nvidiactl) ]]; then
    periogt_words+=(--nv)
  fi
  export PERIOGT_CONTAINER=$image
}

_periogt_venv() {
  local dir=${PERIOGT_VENV:-${VIRTUAL_ENV:-${CONDA_PREFIX:-$periogt_root/.venv}}}
  if [[ ! -x $dir/bin/python ]]; then
    periogt_fail "$dir has no bin/python on $(hostname); make it with scripts/install or deploy/conda/install.sh and" \
      "name it in PERIOGT_VENV"
  fi
  export PERIOGT_VENV=$dir PATH=$dir/bin:$PATH PYTHONPATH=$periogt_root${PYTHONPATH:+:$PYTHONPATH}
  periogt_words=(env)
}

# periogt_prepare: everything that can be known before a job is queued or Ray is started.
periogt_prepare() {
  local runtime=${PERIOGT_RUNTIME:-apptainer}
  case $runtime in
    apptainer | venv) ;;
    *) periogt_fail "PERIOGT_RUNTIME is '$runtime'; expected apptainer or venv" ;;
  esac
  export PERIOGT_RUNTIME=$runtime
  _periogt_directories
  "_periogt_$runtime"
}

# The environment that a container gets: --cleanenv keeps the rest out. It goes in by variables of Apptainer, which
# no other user can read, and not by --env, which shows in the list of processes and splits values at commas.
_periogt_environment() {
  local name prefix=APPTAINERENV_
  if [[ ${periogt_words[0]} == *singularity ]]; then prefix=SINGULARITYENV_; fi
  while IFS= read -r name; do
    case $name in
      PERIOGT_* | SLURM_* | RAY_* | CUDA_VISIBLE_DEVICES | NVIDIA_VISIBLE_DEVICES | GPU_DEVICE_ORDINAL | \
        DGLBACKEND | PYTHONNOUSERSITE | TMPDIR | OMP_NUM_THREADS | NUMBA_CACHE_DIR | TERM | NO_COLOR | \
        http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY)
        export "$prefix$name=${!name}"
        ;;
    esac
  done < <(compgen -e)
}

# Sets periogt_command to the words of a command.
_periogt_command() {
  local binds
  ((${#periogt_words[@]} > 0)) || periogt_prepare
  if [[ $PERIOGT_RUNTIME == apptainer ]]; then
    _periogt_environment
    binds=$(IFS=,; echo "${periogt_binds[*]}")
    periogt_command=("${periogt_words[@]}" --bind "$binds" "$PERIOGT_CONTAINER" "$@")
  else
    periogt_command=("${periogt_words[@]}" "$@")
  fi
}

periogt_run() {
  local periogt_command
  _periogt_command "$@"
  "${periogt_command[@]}"
}

periogt_exec() {
  local periogt_command
  _periogt_command "$@"
  exec "${periogt_command[@]}"
}

# periogt_check SCRIPT [sbatch options] [-- options of `python -m periogt_ray.slurm check`]: what can be known before
# a job is queued: directories, container or venv, settings, artifacts, input, and what Slurm says to the options.
periogt_check() {
  local script=$1 answer
  shift
  local options=()
  while (($# > 0)) && [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  periogt_prepare
  echo "site: ${PERIOGT_SITE_ENV:-no slurm/site.env; only the environment and the options of sbatch count}"
  periogt_run python -m periogt_ray.slurm check "${@:2}" || exit 2
  if command -v sbatch >/dev/null; then
    # The number of a job that is not made is no answer.
    answer=$(sbatch --test-only "${options[@]}" "$script" 2>&1) || periogt_fail "sbatch refuses $(basename "$script"):" \
      "$answer. Correct SBATCH_* in slurm/site.env, or give options before its name; where the answer is not about" \
      "them, Slurm is not set up on this machine: use a login node"
    echo "Slurm would run it: ${answer#sbatch: }"
    if ((${#periogt_unsubmitted[@]} > 0)); then
      echo "before sbatch: source $PERIOGT_SITE_ENV     # sbatch itself reads no file, and needs ${periogt_unsubmitted[*]}"
    fi
  fi
  echo "everything needed is there"
}

# periogt_on_nodes serve|batch [ARGUMENTS...]: runs the command on all nodes of this job, and sets periogt_status.
# Slurm's warning before the wall time (--signal=B:TERM@...) ends it in an orderly way: open requests are answered,
# finished rows are kept. periogt_was_warned then is 1.
periogt_on_nodes() {
  local kill_wait child name component n_nodes n_cpus steps=()
  kill_wait=$(scontrol show config | sed -n 's/^KillWait *= *\([0-9]*\).*/\1/p')
  periogt_job_dir=$PERIOGT_RESULTS_DIR/periogt-job-$SLURM_JOB_ID
  # shellcheck disable=SC2034 # for the script
  periogt_was_warned=0
  # An existing one was left by a job that was killed and requeued.
  rm -rf "$periogt_job_dir"
  mkdir -m 700 "$periogt_job_dir"
  # For ray_job.sh, whose shell may have another environment.
  for name in PERIOGT_{RUNTIME,CONTAINER,VENV,BIND,BASE_DIR,CHECKPOINT_DIR,RESULTS_DIR,FEATURE_STORE,CACHE_DIR}; do
    if [[ -n ${!name:-} ]]; then printf 'export %s=%q\n' "$name" "${!name}"; fi
  done >"$periogt_job_dir/environment"
  chmod 600 "$periogt_job_dir/environment"
  trap 'periogt_was_warned=1; touch "$periogt_job_dir/stop" 2>/dev/null || true' TERM INT
  trap 'rm -rf "$periogt_job_dir"' EXIT
  # A task for each node, of each component where the job is heterogeneous; --overlap lets steps beside it in, such as
  # those of ray_job.sh.
  for ((component = 0; component < ${SLURM_HET_SIZE:-1}; component++)); do
    n_nodes=$SLURM_JOB_NUM_NODES n_cpus=${SLURM_CPUS_PER_TASK:-1}
    if [[ -n ${SLURM_HET_SIZE:-} ]]; then
      name=SLURM_JOB_NUM_NODES_HET_GROUP_$component n_nodes=${!name}
      name=SLURM_CPUS_PER_TASK_HET_GROUP_$component n_cpus=${!name:-1}
      if ((component > 0)); then steps+=(:); fi
      steps+=("--het-group=$component")
    fi
    # shellcheck disable=SC2016 # expanded by the inner shell
    steps+=(--overlap "--ntasks=$n_nodes" --ntasks-per-node=1 "--cpus-per-task=$n_cpus" --wait=0
      bash -c 'source "$1/slurm/env.sh"; shift; periogt_prepare; periogt_exec "$@"' periogt "$periogt_root"
      python -m periogt_ray.slurm "$1" --directory "$periogt_job_dir" --repository "$periogt_root"
      --kill-wait-s "${kill_wait:-30}" "${@:2}")
  done
  srun "${steps[@]}" &
  child=$!
  # A trap interrupts wait, which then gives the signal's status; the child's is given when all is over.
  wait "$child" || true
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
  periogt_status=0
  # shellcheck disable=SC2034 # for the script
  wait "$child" || periogt_status=$?
}
