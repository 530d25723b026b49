"""Every launcher's variables say the same thing, and half of them are refused."""

import pytest

from truenorth.errors import SettingsError
from truenorth.launch import Place, place

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "gpu07",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4009500",
}


def test_torchrun_and_srun_put_a_process_in_the_same_place() -> None:
    assert place(TORCHRUN) == Place(5, 8, 1, 4, "gpu07:29500")
    assert place(SLURM) == place(TORCHRUN)


def test_plain_python_and_one_process_are_alone() -> None:
    assert place({}) == Place()
    assert place(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) == Place()


def test_the_batch_script_around_srun_is_alone() -> None:
    assert place({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}) == Place()


def test_all_tasks_of_a_job_meet_at_one_address_that_other_jobs_do_not_use() -> None:
    addresses = {place(SLURM | {"SLURM_PROCID": str(rank)}).address for rank in range(8)}
    assert len(addresses) == 1
    assert addresses != {place(SLURM | {"SLURM_JOB_ID": "4009501"}).address}


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_half_a_launch_is_refused_by_the_name_of_what_is_missing(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is not in the environment.*torchrun --nproc-per-node"):
        place({key: value for key, value in TORCHRUN.items() if key != name})
