"""What a process holds of a parameter: all of it, or some of its rows (FSDP). Entries are counted in the whole."""

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from ..errors import SettingsError
from ..processes import ALONE, Group


def local(tensor: Tensor) -> Tensor:
    """[n] the entries that this process holds; writing to them, where there are no gradients, writes to `tensor`."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).view(-1)


def span_of(parameter: Tensor) -> range:
    """Which entries of the whole parameter this process holds; none, where there are fewer rows than processes.

    Raises SettingsError where they are no rows that follow on each other, as under tensor parallelism.
    """
    if (place := _place(parameter)) is None:
        return range(parameter.numel())
    (mesh, axis), rows = place, parameter.shape[0]
    width, each = parameter.numel() // rows, -(-rows // mesh.size(axis))
    first = min(mesh.get_local_rank(axis) * each, rows)
    return range(first * width, min(first + each, rows) * width)


def sharers_of(parameters: Iterable[Tensor]) -> Group:
    """The processes that share out `parameters` with this one, by the order of what they hold.

    Raises SettingsError where not all are shared out alike.
    """
    # Meshes are compared, not their groups: equal meshes that were made one after the other have groups of their own.
    found = {_place(parameter) for parameter in parameters}
    if len(found) > 1:
        raise SettingsError("some parameters are shared out over other processes than the rest. Use --layout data.")
    place = next(iter(found), None)
    if place is None:
        return ALONE
    mesh, axis = place
    return Group(mesh.get_local_rank(axis), mesh.size(axis), mesh.get_group(axis))


def laid_by_rows(tensor: Tensor, parameter: Tensor) -> Tensor:
    """[k, rows, ...], whole in each process, laid as `parameter` [rows, ...] is; itself, where it is so laid."""
    if isinstance(tensor, DTensor) or not isinstance(parameter, DTensor):
        return tensor
    placements = [how if how.is_replicate() else Shard(1) for how in parameter.placements]
    return distribute_tensor(tensor, parameter.device_mesh, placements, src_data_rank=None)


def _place(parameter: Tensor) -> tuple[DeviceMesh, int] | None:
    """The mesh that a parameter is shared out over, and the axis along which."""
    if not isinstance(parameter, DTensor) or (axis := _axis(parameter)) is None:
        return None
    return parameter.device_mesh, axis


def _axis(parameter: DTensor) -> int | None:
    """The axis of its mesh along which rows are shared out."""
    shared = [(axis, how) for axis, how in enumerate(parameter.placements) if not how.is_replicate()]
    if not shared:
        return None
    (axis, how), *more = shared
    if more or how != Shard(0):
        raise SettingsError(
            "this update needs parameters, or whole rows of them, and tensor parallelism slices rows too. Use "
            "--layout fsdp without --tensor-size, or --layout data."
        )
    return axis
