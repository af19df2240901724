"""``--serve tp=8,pp=2,nodes=2``: over how many GPUs and nodes one model is spread, and what is run
on each of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.options import Count
from bfpo_bench.common.validate import STRICT, Text, validated
from bfpo_bench.engines.open import gpu_visible
from bfpo_bench.engines.protocol import EngineOptions

PROGRAM = (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve")

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Layout:
    """One model over GPUs and nodes.

    Attributes:
        tp: GPUs that share each layer (tensor parallel).
        pp: groups of them that follow each other (pipeline parallel).
        nodes: machines, each with its share of the ``tp * pp`` GPUs.
        timeout: seconds until the model has to be loaded.
        port: of the server, on this machine alone; None takes a free one.
        address: of this machine, as the others reach it; None finds it out.
        master_port: at which the others meet there; None takes a free one.
    """

    tp: Count = 1
    pp: Count = 1
    nodes: Count = 1
    timeout: Count = 1800
    port: Port | None = None
    address: Text | None = None
    master_port: Port | None = None

    def __post_init__(self) -> None:
        if self.gpus % self.nodes:
            raise BadInput(
                f"--serve: tp x pp = {self.gpus} GPUs are not shared evenly by {self.nodes} nodes; "
                "let nodes be a divisor of it."
            )

    @classmethod
    def parse(cls, given: Any) -> Any:
        """``"tp=8,nodes=2"`` → a layout; all else stays what it is.

        Raises:
            BadInput: it names something that a layout has not, or leaves a value out.
        """
        if not isinstance(given, str):
            return given
        names = [field.name for field in fields(cls)]
        found: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in given.split(","))):
            name, _, value = (text.strip() for text in part.partition("="))
            if name not in names:
                raise unknown_name("part of --serve", name, names)
            if not value:
                raise BadInput(f"--serve: {name} has no value; write such as tp=8,pp=2,nodes=2.")
            if name in found:
                raise BadInput(f"--serve: {name} is given twice; leave one of them out.")
            found[name] = int(value) if value.isdecimal() and name != "address" else value
        if not found:  # an unset variable of a shell, say
            raise BadInput("--serve names nothing; write such as tp=8,pp=2,nodes=2.")
        return validated(cls, found, "--serve")

    @property
    def gpus(self) -> int:
        """All of them together."""
        return self.tp * self.pp

    def command(
        self, options: EngineOptions, name: str, port: int, rank: int, meet: tuple[str, int]
    ) -> list[str]:
        """What runs on one node.

        Args:
            options: of the model; its folder is the same on every node.
            name: under which the server knows the model.
            port: of the server, which is the first node's.
            rank: of the node, from 0.
            meet: address and port of the first node at which all meet.
        """
        wish: dict[str, Any] = {
            "served-model-name": name,
            "tokenizer": options.tokenizer or options.model,
            "dtype": options.dtype,
            "max-model-len": options.max_length,
            "max-num-seqs": options.batch_size,
            "tensor-parallel-size": self.tp,
            "pipeline-parallel-size": self.pp,
            # As the vllm backend has it: the model's weights, and no sampling settings of its own.
            "load-format": "safetensors",
            "generation-config": "vllm",
            "seed": 0,
        }
        switches = ["disable-log-stats", "disable-uvicorn-access-log"]
        if gpu_visible():
            wish["gpu-memory-utilization"] = options.gpu_memory_utilization
        else:
            switches += ["enforce-eager", "no-enable-chunked-prefill"]
        if options.trust_remote_code:
            switches.append("trust-remote-code")
        if self.gpus > 1:
            wish["distributed-executor-backend"] = "mp"
        if self.nodes > 1:
            wish |= {"nnodes": self.nodes, "node-rank": rank}
            wish |= {"master-addr": meet[0], "master-port": meet[1]}
        if rank:
            switches.append("headless")
        else:
            wish |= {"host": "127.0.0.1", "port": port}
        pairs = [[f"--{key}", str(value)] for key, value in wish.items() if value is not None]
        return [
            *(*PROGRAM, options.model),
            *(text for pair in pairs for text in pair),
            *(f"--{switch}" for switch in switches),
        ]

    def over_slurm(self, node: str, command: Sequence[str]) -> list[str]:
        """The command as a step on another node of the allocation that this process is in."""
        gpus = [f"--gpus-per-node={self.gpus // self.nodes}"] if gpu_visible() else []
        return [
            "srun",
            "--overlap",
            "--nodes=1",
            "--ntasks=1",
            f"--nodelist={node}",
            *gpus,
            *command,
        ]


def allocated(count: int) -> list[str]:
    """Names of the nodes of the Slurm allocation that this process is in, its own first; none
    where it is in none.

    Raises:
        BadInput: there are too few, or this machine is not among them.
    """
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if not listed:
        return []
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInput(
            f"the nodes of the allocation ({listed}) cannot be told apart: scontrol {error}; mend "
            "that, or take SLURM_JOB_NODELIST out of the environment to start each node by hand."
        ) from error
    nodes = done.stdout.split()
    here = os.environ.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0]
    if here not in nodes:
        raise BadInput(
            f"this machine ({here}) is none of the allocation's ({', '.join(nodes)}); start the "
            "command on one of them, in the job's script."
        )
    if len(nodes) < count:
        raise BadInput(
            f"--serve asks for {count} nodes, and the allocation has {len(nodes)} "
            f"({', '.join(nodes)}); ask Slurm for more, or --serve for fewer."
        )
    return [here, *(node for node in nodes if node != here)][:count]


def own_address() -> str:
    """The address of this machine by which others reach it: that of the way out of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            # Nothing is sent: a route is looked up. The address is one for documentation.
            way.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(way.getsockname()[0])


def free_port(wanted: int | None = None, host: str = "127.0.0.1", part: str = "port") -> int:
    """A port at which nobody listens.

    Raises:
        BadInput: somebody listens at the one that is wanted.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, wanted or 0))
        except OSError as error:
            raise BadInput(
                f"port {wanted} is taken ({error.strerror}); give --serve another {part}=, or "
                "leave it out for a free one."
            ) from None
        return int(one.getsockname()[1])
