#!/usr/bin/env bash
# Sourced by the Slurm scripts, by doctor and by your own jobs: where things are, and how a command of the
# package is run. Defines functions and variables; starts nothing.
#
#   source /path/to/slurm/env.sh
#   periogt_prepare                     # checks the container or the venv; exit 2 with a message
#   periogt_bind /some/directory        # as often as needed: a directory that commands may read and write
#   periogt_run periogt properties      # runs the command in the container or the venv; a child process
#   periogt_exec python -m ...          # the same in place of this shell, so that signals reach the command
#
# PERIOGT_RUNTIME=apptainer (default) runs PERIOGT_CONTAINER (default: $PERIOGT_BASE_DIR/periogt.sif);
# PERIOGT_RUNTIME=venv runs the venv or Conda environment at PERIOGT_VENV (default: the active one, else .venv here).

periogt_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# DGL asks for a backend where it finds none; a user's ~/.local would shadow an image's packages.
export DGLBACKEND=pytorch PYTHONNOUSERSITE=1 RAY_USAGE_STATS_ENABLED=0

periogt_words=() # what goes before a command
periogt_binds=() # directories that the container sees, beside Apptainer's own defaults

periogt_fail() {
  echo "periogt: $*" >&2
  exit 2
}

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
}

# Directories: those that are set must exist, those that are not set are made.
_periogt_directories() {
  local name
  for name in PERIOGT_BASE_DIR PERIOGT_CHECKPOINT_DIR PERIOGT_RESULTS_DIR; do
    if [[ -n ${!name:-} && ! -d ${!name} ]]; then
      periogt_fail "$name is set to ${!name}, which is not a directory on $(hostname); create it or correct the variable"
    fi
  done
  export PERIOGT_BASE_DIR=${PERIOGT_BASE_DIR:-$HOME/periogt}
  export PERIOGT_RESULTS_DIR=${PERIOGT_RESULTS_DIR:-$PERIOGT_BASE_DIR/results}
  mkdir -p "$PERIOGT_RESULTS_DIR" || periogt_fail "PERIOGT_RESULTS_DIR ($PERIOGT_RESULTS_DIR) cannot be made"
  periogt_bind "$PERIOGT_BASE_DIR" "$PERIOGT_RESULTS_DIR" ${PERIOGT_CHECKPOINT_DIR:+"$PERIOGT_CHECKPOINT_DIR"}
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
  periogt_image=$image
}

_periogt_venv() {
  local dir=${PERIOGT_VENV:-${VIRTUAL_ENV:-${CONDA_PREFIX:-$periogt_root/.venv}}}
  if [[ ! -x $dir/bin/python ]]; then
    periogt_fail "$dir has no bin/python on $(hostname); make it with scripts/install or deploy/conda/install.sh and" \
      "name it in PERIOGT_VENV"
  fi
  export PATH=$dir/bin:$PATH PYTHONPATH=$periogt_root${PYTHONPATH:+:$PYTHONPATH}
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
    periogt_command=("${periogt_words[@]}" --bind "$binds" "$periogt_image" "$@")
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
