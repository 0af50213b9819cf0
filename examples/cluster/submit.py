"""The shards of a run through submitit, which knows Slurm; a preempted one is queued again and goes on from the store.

python examples/cluster/submit.py 8 /shared/iqa-store test_suites/robustness --iqa-profile=paper
"""

from __future__ import annotations

import subprocess
import sys

# Exit codes of a shard that has computed its cells, whatever their verdicts are; the last run judges all of them.
COMPUTED = (0, 1, 5, 10, 11)


class Shard:
    def __init__(self, number: int, count: int, store: str, options: list[str]) -> None:
        self.command = [sys.executable, "-m", "pytest", *options, f"--iqa-store={store}"]
        self.command += [f"--iqa-shard={number}/{count}", f"--iqa-reports=reports/shard-{number}"]

    def __call__(self) -> int:
        code = subprocess.run(self.command, check=False).returncode
        if code not in COMPUTED:
            raise RuntimeError(f"exit code {code}: {' '.join(self.command)}")
        return code

    def checkpoint(self) -> object:
        """Nothing but the same again: what is in the store is not computed twice."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def main() -> None:
    import submitit

    count, store, *options = sys.argv[1:]
    executor = submitit.AutoExecutor(folder="reports/submitit")
    executor.update_parameters(timeout_min=24 * 60, cpus_per_task=4)
    with executor.batch():
        jobs = [executor.submit(Shard(number, int(count), store, options)) for number in range(1, int(count) + 1)]
    for job in jobs:
        print(job.job_id, job.result())


if __name__ == "__main__":
    main()
