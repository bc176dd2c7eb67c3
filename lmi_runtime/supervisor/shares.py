"""How invocations are shared out over worker processes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lmi_runtime.model import Mode

__all__ = ["WorkerPlan", "plan", "split"]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """
    The workers to start.

    Attributes:
        workers: Slots of each worker; the number of workers is its length.
        mode: How a worker runs its invocations.
    """

    workers: tuple[int, ...]
    mode: Mode

    @property
    def slots(self) -> int:
        """Invocations all workers together may serve at once."""
        return sum(self.workers)


def split(n: int, k: int) -> tuple[int, ...]:
    """
    Share `n` slots out over at most `k` workers, exactly and as evenly as can be.

    There are fewer workers when there is less than one slot for each: a worker without a slot
    would only cost memory.

    Raises:
        ValueError: `n` or `k` is less than 1.
    """
    if n < 1 or k < 1:
        raise ValueError(f"Cannot share {n} slots out over {k} workers.")
    workers = min(n, k)
    share, rest = divmod(n, workers)
    return (share + 1,) * rest + (share,) * (workers - rest)


def plan(
    *, max_concurrency: int | None, vcpus: int, mode: Mode, max_per_vcpu: int | None = None
) -> WorkerPlan:
    """
    Decide how many workers to start, with how many slots each.

    Args:
        max_concurrency: What the platform may send at once; None on classic Lambda: one.
        vcpus: vCPUs of this environment.
        mode: How invocations share processes.
        max_per_vcpu: The handler's own limit; it lowers the platform's and never raises it.

    Raises:
        ValueError: A number is less than 1.
    """
    slots = 1 if max_concurrency is None else max_concurrency
    if max_per_vcpu is not None:
        slots = min(slots, max_per_vcpu * vcpus)
    processes = {Mode.THREAD: 1, Mode.PROCESS: slots}.get(mode, vcpus)
    return WorkerPlan(split(slots, processes), mode)
