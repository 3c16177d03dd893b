# Sourced by `conda activate`: what the package needs; deactivate.sh puts back what was there.
_periogt_old_dglbackend=${DGLBACKEND-} _periogt_old_nousersite=${PYTHONNOUSERSITE-}
_periogt_had="${DGLBACKEND+dglbackend} ${PYTHONNOUSERSITE+nousersite}"
export DGLBACKEND=pytorch
export PYTHONNOUSERSITE=1 # nothing of ~/.local
