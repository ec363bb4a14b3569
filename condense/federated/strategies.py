"""The server's side of every algorithm, as strategies of Flower."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from condense.errors import Refused
from condense.federated import algorithms as known
from condense.federated import virtual
from condense.federated.local import Labelled, Pull
from condense.federated.messages import (
    FAILED,
    arrays,
    number,
    order_content,
    read_answer,
    size,
    tensors,
)
from condense.federated.participant import Answer, Order, generator
from condense.federated.plan import Plan
from condense.federated.rules import average, moved_control, normalised, pseudo_gradient
from condense.federated.virtual import Refresh
from condense.networks import build_network
from condense.training.loop import Loop

WAIT = 7 * 24 * 3600.0
"""Seconds for which an answer is waited for."""

NODES_SECONDS = 0.1
"""Seconds between two looks for nodes, while some are not there yet."""


class Restart(Exception):
    """The process of a client has died; the simulation has to start anew for the rounds that are left."""


class Rounds(Strategy):
    """Federated averaging, and what all algorithms share.

    The clients of a round are drawn from the federation's seed, and answers are taken in the order of the
    clients, so that neither Flower's numbers of nodes nor the order of arrival enter the result.

    Args:
        algorithm: The algorithm's settings.
        plan: What the federation is to do.
        loop: Counts the rounds, keeps their checkpoints and stops when the time is over.

    Attributes:
        weights: The server's network.
        up: Bytes that clients have sent.
        down: Bytes that the server has sent.
        lost: Number of orders that were not answered.
        scores: Accuracy of the last network on each client's test images, in percent, by the client's number.
    """

    def __init__(self, algorithm: Any, plan: Plan, loop: Loop) -> None:
        self.algorithm, self.plan, self.loop = algorithm, plan, loop
        made = build_network(
            plan.network, plan.spec.shape, plan.spec.num_classes, generator(plan.seed, "network")
        )
        self.weights: Mapping[str, Tensor] = {name: one.detach() for name, one in made.state_dict().items()}
        self.parameters = tuple(name for name, _ in made.named_parameters())
        self.up = self.down = self.lost = 0
        self.scores: dict[int, float] = {}
        self._nodes: dict[int, int] = {}
        self._died = False
        rounds = plan.protocol.rounds
        assert rounds is not None
        self._steps: Iterator[int] = loop.steps(rounds, {"server": self}, "rounds", always=True)
        self._round = next(self._steps, rounds)

    @property
    def left(self) -> int:
        """Number of rounds that are left."""
        rounds = self.plan.protocol.rounds
        assert rounds is not None
        return rounds - self._round

    def say(self, sentence: str) -> None:
        """Prints a sentence about the federation to standard error."""
        print(f"{self.loop.title}: {sentence}", file=sys.stderr, flush=True)

    # What algorithms change ------------------------------------------------------------------------------

    def order(self, number: int) -> Order:
        """Returns what every client of a round is asked for."""
        return Order(number=number, seed=self.plan.seed, weights=self.weights, protocol=self.plan.protocol)

    def aggregate(self, number: int, answers: Mapping[int, Answer]) -> Mapping[str, Tensor]:
        """Returns the server's network after a round.

        Args:
            number: Number of the round, from 0.
            answers: The answers by the clients' numbers, in their order.
        """
        return average([one.weights for one in answers.values()])

    @property
    def needs_statistics(self) -> bool:
        """Whether clients have to tell the statistics of their classes before the first round."""
        return False

    def learn_statistics(self, mean: list[Tensor], std: list[Tensor]) -> None:
        """Takes the clients' statistics."""

    # The state -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Returns everything that the rounds to come depend on."""
        return {"weights": self.weights, "up": self.up, "down": self.down, "lost": self.lost}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        self.weights = state["weights"]
        self.up, self.down, self.lost = state["up"], state["down"], state["lost"]

    # Flower's side ---------------------------------------------------------------------------------------

    def restarted(self) -> None:
        """Forgets the nodes of a simulation that has ended."""
        self._nodes, self._died = {}, False

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any
    ) -> Iterable[Message]:
        """Draws the clients of the round and returns their orders."""
        self._find_nodes(grid)
        order = order_content(self.order(self._round))
        rng = generator(self.plan.seed, "clients", self._round)
        chosen = torch.randperm(len(self.plan.names), generator=rng)[: self.plan.per_round]
        return self._messages(order, MessageType.TRAIN, sorted(chosen.tolist()))

    def _messages(self, content: RecordDict, kind: str, clients: Iterable[int]) -> list[Message]:
        nodes = {client: node for node, client in self._nodes.items()}
        messages = []
        for client in clients:
            if client not in nodes:
                self._miss(client, "it cannot be reached")
                continue
            mine = self.content_for(client, content)
            self.down += size(mine)
            messages.append(Message(mine, message_type=kind, dst_node_id=nodes[client]))
        return messages

    def content_for(self, client: int, content: RecordDict) -> RecordDict:
        """Returns the part of a message's content that a client lacks."""
        return content

    def _miss(self, client: int, why: str) -> None:
        self.lost += 1
        where = f"round {self._round + 1}" if self.left else "test"
        self.say(f"{where}: {self.plan.names[client]} has failed ({why}); the others go on")

    def _find_nodes(self, grid: Any) -> None:
        """Asks all nodes which clients they are, unless this is known."""
        if len(self._nodes) == len(self.plan.names):
            return
        while len(nodes := sorted(grid.get_node_ids())) < len(self.plan.names):
            time.sleep(NODES_SECONDS)
        wanted = self.needs_statistics and self._round == 0
        query = RecordDict({"query": ConfigRecord({"statistics": wanted})})
        messages = [Message(query, message_type=MessageType.QUERY, dst_node_id=node) for node in nodes]
        told: dict[int, Any] = {}
        for reply in grid.send_and_receive(messages, timeout=WAIT):
            if reply.has_error():
                self.say(f"a client has failed ({reply.error.reason})")
                continue
            self.up += size(reply.content)
            client = int(number(reply.content.metric_records["metrics"], "number"))
            self._nodes[reply.metadata.src_node_id] = client
            if wanted:
                told[client] = tensors(reply.content.array_records["statistics"])
        if wanted and told:
            sides = [[told[client][name] for client in sorted(told)] for name in ("mean", "std")]
            self.learn_statistics(*sides)

    def _replies(self, replies: Iterable[Message]) -> dict[int, Message]:
        """Returns the replies without errors by client, and says which clients have failed."""
        found: dict[int, Message] = {}
        for reply in replies:
            client = self._nodes[reply.metadata.src_node_id]
            if reply.has_error():
                own = reply.error.code == FAILED
                self._died |= not own
                self._miss(client, str(reply.error.reason) if own else "its process has died")
            else:
                self.up += size(reply.content)
                found[client] = reply
        return {client: found[client] for client in sorted(found)}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Takes the answers of a round, and ends it: a checkpoint is written, and the time is looked at."""
        found = {client: read_answer(reply.content) for client, reply in self._replies(replies).items()}
        if not found:
            raise Refused(f"{self.loop.title}: no client has answered in round {self._round + 1}")
        self.weights = self.aggregate(self._round, found)
        self.loop.log(loss=sum(one.loss for one in found.values()) / len(found))
        rounds = self.plan.protocol.rounds
        assert rounds is not None
        self._round = next(self._steps, rounds)
        if self._died and self.left:
            raise Restart
        return arrays(self.weights), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any
    ) -> Iterable[Message]:
        """Returns the last network for every client, once all rounds are done."""
        if self.left:
            return []
        return self.test_messages(grid)

    def test_messages(self, grid: Any) -> list[Message]:
        """Returns the last network for every client that has not tested it yet."""
        self._find_nodes(grid)
        content = RecordDict({"weights": arrays(self.weights)})
        untested = [client for client in range(len(self.plan.names)) if client not in self.scores]
        return self._messages(content, MessageType.EVALUATE, untested)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Takes the accuracies on the clients' test images."""
        for client, reply in self._replies(replies).items():
            self.scores[client] = number(reply.content.metric_records["metrics"], "accuracy")
        if self._died and len(self.scores) < len(self.plan.names):
            raise Restart
        return None

    def finish(self, grid: Any) -> None:
        """Runs the rounds that are left, and the test, on a grid of Flower: the whole of a server's work."""
        if self.left:
            self.start(grid, arrays(self.weights), num_rounds=self.left)
        else:
            self.aggregate_evaluate(0, grid.send_and_receive(self.test_messages(grid), timeout=WAIT))

    def summary(self) -> None:
        """Says nothing: the loop tells the progress."""


class FedProx(Rounds):
    """Clients are pulled towards the server's network."""

    def order(self, number: int) -> Order:
        """Adds the weight of the pull."""
        return replace(super().order(number), pull=Pull(proximal=self.algorithm.mu))


class FedNova(Rounds):
    """Clients count by their direction, whatever the number of their steps."""

    def aggregate(self, number: int, answers: Mapping[int, Answer]) -> Mapping[str, Tensor]:
        """See `condense.federated.rules.normalised`."""
        found = list(answers.values())
        return normalised(self.weights, [one.weights for one in found], [one.steps for one in found])


class Scaffold(Rounds):
    """Control variates of server and clients correct the drift of the clients' steps."""

    def __init__(self, algorithm: Any, plan: Plan, loop: Loop) -> None:
        self.control: Mapping[str, Tensor] = {}
        super().__init__(algorithm, plan, loop)
        self.control = self.control or {
            name: torch.zeros_like(self.weights[name]) for name in self.parameters
        }

    def order(self, number: int) -> Order:
        """Adds the server's control variate."""
        return replace(super().order(number), control=self.control)

    def aggregate(self, number: int, answers: Mapping[int, Answer]) -> Mapping[str, Tensor]:
        """Averages the networks, and moves the server's control variate."""
        changes = [one.change for one in answers.values() if one.change is not None]
        self.control = moved_control(self.control, changes, len(self.plan.names))
        return super().aggregate(number, answers)

    def state_dict(self) -> dict[str, object]:
        """Adds the control variate."""
        return super().state_dict() | {"control": self.control}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        super().load_state_dict(state)
        self.control = state["control"]


class VHL(Rounds):
    """All clients also train on the same noise images, which they draw themselves."""

    def order(self, number: int) -> Order:
        """Adds the noise and the calibration with it."""
        settings = self.algorithm
        pull = Pull(weight=settings.weight, temperature=settings.temperature)
        return replace(super().order(number), noise=settings.virtual_ipc, pull=pull)


class FedLGD(Rounds):
    """Clients refresh their sets, and the server distils shared images from what their training changes."""

    def __init__(self, algorithm: Any, plan: Plan, loop: Loop) -> None:
        self.shared: Labelled | None = None
        self.version = 0
        self.held: dict[int, int] = {}
        """Version of the shared images that a client is known to have."""
        super().__init__(algorithm, plan, loop)

    def content_for(self, client: int, content: RecordDict) -> RecordDict:
        """Leaves shared images out that a client has."""
        if "shared" not in content or self.held.get(client) != self.version:
            return content
        return RecordDict({name: value for name, value in content.items() if name != "shared"})

    def _miss(self, client: int, why: str) -> None:
        self.held.pop(client, None)
        super()._miss(client, why)

    def order(self, number: int) -> Order:
        """Adds the shared images, and a refresh or else the contrastive loss."""
        settings = self.algorithm
        plain = replace(super().order(number), shared=self.shared, version=self.version)
        if not settings.refreshes_in(number):
            return replace(plain, pull=Pull(weight=settings.weight, temperature=settings.temperature))
        if number == 0 or not settings.local_steps:
            return plain
        how = Refresh(
            steps=settings.local_steps, lr=settings.lr_images, momentum=settings.momentum,
            batch_real=settings.batch_real, strategy=self.plan.spec.dsa,
        )  # fmt: skip
        return replace(plain, refresh=how)

    @property
    def needs_statistics(self) -> bool:
        """Whether shared images are drawn from the clients' statistics."""
        return bool(self.algorithm.global_ipc)

    def learn_statistics(self, mean: list[Tensor], std: list[Tensor]) -> None:
        """Draws the first shared images."""
        spec = self.plan.spec
        self.shared = virtual.drawn(
            virtual.averaged(mean), virtual.averaged(std), self.algorithm.global_ipc,
            (spec.height, spec.width), generator(self.plan.seed, "shared"),
        )  # fmt: skip
        self.version = 1

    def aggregate(self, number: int, answers: Mapping[int, Answer]) -> Mapping[str, Tensor]:
        """Averages the networks, and in a refresh matches the shared images to the change."""
        after, settings = super().aggregate(number, answers), self.algorithm
        self.held |= dict.fromkeys(answers, self.version)
        if self.shared is not None and settings.refreshes_in(number) and settings.global_steps:
            plan, spec = self.plan, self.plan.spec
            assert plan.protocol.lr is not None
            network = build_network(
                plan.network, spec.shape, spec.num_classes, torch.Generator(), plan.device
            )
            network.load_state_dict(self.weights)
            before = {name: self.weights[name] for name in self.parameters}
            change = pseudo_gradient(before, after, plan.protocol.lr)
            target = {name: value.to(plan.device) for name, value in change.items()}
            how = Refresh(steps=settings.global_steps, lr=settings.lr_images, momentum=settings.momentum)
            found = virtual.matched(network, self.shared.to(plan.device), target, how)
            self.shared, self.version = found.to(torch.device("cpu")), self.version + 1
            if not self.shared.images.isfinite().all():
                raise Refused(f"the shared images have diverged in round {number + 1}; {settings.remedy}")
        return after

    def state_dict(self) -> dict[str, object]:
        """Adds the shared images."""
        shared = self.shared
        held = {} if shared is None else {"images": shared.images, "labels": shared.labels}
        return super().state_dict() | {"shared": held, "version": self.version, "held": self.held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        super().load_state_dict(state)
        held, self.version, self.held = state["shared"], state["version"], dict(state["held"])
        self.shared = Labelled(held["images"], held["labels"]) if held else None


STRATEGIES: Mapping[type[known.Algorithm], type[Rounds]] = {
    known.FedAvg: Rounds,
    known.FedProx: FedProx,
    known.FedNova: FedNova,
    known.Scaffold: Scaffold,
    known.VHL: VHL,
    known.FedLGD: FedLGD,
}
"""The strategy of each algorithm."""
