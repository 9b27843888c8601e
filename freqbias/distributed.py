"""Seeds over the devices of several processes, on one machine or on many.

Every process runs the same program with the same arguments. `freqbias.ensemble.map_seeds` deals the
seeds over the devices of all, and each process gets the whole result. So all must train and attack
the same networks in the same order, and one of them, the first, writes the files.
"""

import jax


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to the others; returns when all have come.

    To be called before anything is computed. Without arguments the cluster is asked (Slurm, Open
    MPI, Cloud TPU; see ``jax.distributed.initialize``).

    Args:
      coordinator: "host:port" of the first process, the same for all.
      num_processes: how many there are.
      process_id: which one this is, 0 to num_processes - 1; process 0 listens at the coordinator's
        port.

    Raises:
      ValueError: some of the arguments are given and others not, or the number is out of range.
      RuntimeError: JAX has already computed something.

    Example:
      Two processes on one machine, each started with its own ``process_id``:
      ``initialize("localhost:1234", num_processes=2, process_id=0)``.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(f"{', '.join(given)} must be given together; missing {missing}.")
    if not missing and not 0 <= process_id < num_processes:  # type: ignore[operator]
        raise ValueError(
            f"process_id must lie in 0..num_processes - 1; got {process_id} of {num_processes}."
        )
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0
