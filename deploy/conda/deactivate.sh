# Sourced by `conda deactivate`: puts back what activate.sh found.
case ${_periogt_had-} in *dglbackend*) export DGLBACKEND="${_periogt_old_dglbackend-}" ;; *) unset DGLBACKEND ;; esac
case ${_periogt_had-} in *nousersite*) export PYTHONNOUSERSITE="${_periogt_old_nousersite-}" ;; *) unset PYTHONNOUSERSITE ;; esac
unset _periogt_had _periogt_old_dglbackend _periogt_old_nousersite
