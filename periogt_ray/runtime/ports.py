"""Whether a port is free, and a block of free ports for one Ray on a node.

A node may hold other Rays, of the same user and of others.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from periogt_ray.errors import InternalError, SettingsError

__all__ = ["NodePorts", "check_port", "check_port_beside_ray", "port_error", "reserved_ports"]

# Above the ports of well-known services and below those that Linux gives to outgoing connections.
_FIRST, _END = 10240, 32768
_END_OF_RAY = 20000  # `ray start` gives workers ports from 10002 to 19999, ray.init those of outgoing connections
_BLOCK = 16
_N_BLOCKS = (_END - _FIRST) // _BLOCK


@dataclass(frozen=True)
class NodePorts:
    """A block of ports, in this order from its first.

    Attributes
    ----------
    gcs : int
        Control service of the head, the address of the cluster.
    http : int
        Of the service.
    """

    gcs: int
    http: int
    node_manager: int
    object_manager: int
    runtime_env_agent: int
    agent_grpc: int
    agent_http: int
    dashboard: int
    client_server: int

    @classmethod
    def from_first(cls, first: int) -> "NodePorts":
        """Return the block that begins with a port."""
        return cls(*range(first, first + len(cls.__dataclass_fields__)))

    def all(self) -> list[int]:
        """Return every port of the block."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


@contextmanager
def reserved_ports(job_id: int) -> Iterator[NodePorts]:
    """Choose a free block of ports, the job's own if possible, and keep it while the context lasts.

    Between choosing ports and listening at them another job might choose the same ones. So no other call of
    this function on the node, by any user, returns ports of this block meanwhile.

    Raises
    ------
    InternalError
        If the node has no free block.
    """
    for offset in range(_N_BLOCKS):
        first = _FIRST + (job_id + offset) % _N_BLOCKS * _BLOCK
        ports = NodePorts.from_first(first)
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                # An abstract name: no file, the same for all users of the node, gone with the process.
                claim.bind(f"\0periogt-ports-{first}")
            except OSError:
                continue
            if all(port_error("0.0.0.0", port) is None for port in ports.all()):
                yield ports
                return
    raise InternalError(f"No {_BLOCK} neighbouring ports from {_FIRST} to {_END} are free on this node.")


def port_error(host: str, port: int) -> str | None:
    """Return why a server could not listen at an address of this machine; None if it could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # As servers do: a port whose last connection has just ended (TIME_WAIT) is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # With the option above two sockets may hold one port, until one of them listens.
            listener.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def check_port(host: str, port: int) -> None:
    """Make sure that the service can listen, before anything is started.

    Raises
    ------
    SettingsError
        If it cannot.
    """
    error = port_error(host, port)
    if error is not None:
        raise SettingsError(
            f"{host}:{port} cannot be bound ({error}). Give an address of this machine and a free port: --host and "
            "--port, or PERIOGT_HOST and PERIOGT_PORT."
        )


def check_port_beside_ray(host: str, port: int) -> None:
    """Make sure that the service can still listen once Ray runs.

    Raises
    ------
    SettingsError
        If it cannot: Ray's processes listen at ports that they or Linux choose at random.
    """
    error = port_error(host, port)
    if error is not None:
        raise SettingsError(
            f"{host}:{port} was free before Ray started and cannot be bound now ({error}): most likely a process of "
            f"Ray listens there. Choose a port from {_END_OF_RAY} to {_END - 1}, where Ray's do not: --port or "
            "PERIOGT_PORT."
        )
