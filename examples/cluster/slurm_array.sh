#!/bin/bash
# One shard of a run for each task of a Slurm array; `judge` judges all of them from the store that they share.
#
#   sbatch --array=1-8 examples/cluster/slurm_array.sh test_suites/robustness --iqa-profile=paper
#   sbatch --dependency=afterany:JOBID --export=ALL,JUDGE=1 examples/cluster/slurm_array.sh test_suites/robustness --iqa-profile=paper
#
# IQA_STORE is a folder or URL that all nodes see. Lines of your own (partition, account, GPUs) belong below.
#SBATCH --job-name=iqa-robustness
#SBATCH --cpus-per-task=4
#SBATCH --requeue
set -euo pipefail
: "${IQA_STORE:?a folder or URL that all nodes see, for one IQA_STORE=/shared/iqa-store}"
PYTHON="${PYTHON:-python}"
export OMP_NUM_THREADS=1

if [[ -n "${JUDGE:-}" ]]; then
  exec "$PYTHON" -m pytest "$@" --iqa-store="$IQA_STORE" --iqa-from-store
fi
: "${SLURM_ARRAY_TASK_ID:?this is a task of an array: sbatch --array=1-N}"
# A shard fails where a verdict does: the last run says so too, and for all. Only what kept it from computing is an error here.
code=0
"$PYTHON" -m pytest "$@" --iqa-store="$IQA_STORE" \
  --iqa-shard="$SLURM_ARRAY_TASK_ID/${SLURM_ARRAY_TASK_COUNT:-$SLURM_ARRAY_TASK_MAX}" \
  --iqa-reports="reports/shard-$SLURM_ARRAY_TASK_ID" -p no:cacheprovider || code=$?
case "$code" in
  0 | 1 | 5 | 10 | 11) exit 0 ;;
  *) exit "$code" ;;
esac
