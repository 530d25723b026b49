"""What a process holds of a parameter: all of it, or some of its rows (FSDP). Entries are counted in the whole."""

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from ..errors import SettingsError
from ..processes import ALONE, Group


def local(tensor: Tensor) -> Tensor:
    """[n] the entries that this process holds; writing to them, where there are no gradients, writes to `tensor`."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).view(-1)


def span_of(parameter: Tensor) -> range:
    """Which entries of the whole parameter this process holds; none, where there are fewer rows than processes.

    Raises SettingsError where they are no rows that follow on each other, as under tensor parallelism.
    """
    if not isinstance(parameter, DTensor) or (axis := _axis(parameter)) is None:
        return range(parameter.numel())
    mesh, rows = parameter.device_mesh, parameter.shape[0]
    width, each = parameter.numel() // rows, -(-rows // mesh.size(axis))
    first = min(mesh.get_local_rank(axis) * each, rows)
    return range(first * width, min(first + each, rows) * width)


def sharers_of(parameters: Iterable[Tensor]) -> Group:
    """The processes that share out `parameters` with this one, by the order of what they hold.

    Raises SettingsError where not all are shared out alike.
    """
    found = {_sharers(parameter) for parameter in parameters}
    if len(found) > 1:
        raise SettingsError("some parameters are shared out over other processes than the rest. Use --layout data.")
    return next(iter(found), ALONE)


def _sharers(parameter: Tensor) -> Group:
    if not isinstance(parameter, DTensor) or (axis := _axis(parameter)) is None:
        return ALONE
    mesh = parameter.device_mesh
    return Group(mesh.get_local_rank(axis), mesh.size(axis), mesh.get_group(axis))


def _axis(parameter: DTensor) -> int | None:
    """The axis of its mesh along which rows are shared out."""
    shared = [(axis, how) for axis, how in enumerate(parameter.placements) if not how.is_replicate()]
    if not shared:
        return None
    (axis, how), *more = shared
    if more or how != Shard(0):
        raise SettingsError(
            "merging needs whole parameters or whole rows of them, and --layout tensor slices layers. Use --layout "
            "fsdp without --tensor-size, or --layout data."
        )
    return axis
