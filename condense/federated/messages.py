"""Orders and answers as messages of Flower, and the client's side of an exchange.

Bytes are those of the tensors in a message, without Flower's headers.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from torch import Tensor

from condense.errors import Refused
from condense.federated.local import Labelled, Pull
from condense.federated.participant import Answer, Order, Participant
from condense.federated.virtual import Refresh
from condense.files import canonical, first_line
from condense.protocol import Protocol

FAILED = 2
"""The code of an error that a client has noticed itself; any other one means that it is gone."""
PARTITION = "partition-id"
"""The name under which a node of Flower's simulation holds its number."""

Names = Mapping[str, Tensor]
Participants = Callable[[int], Participant]
"""Returns the client of a number."""


def arrays(tensors: Names) -> ArrayRecord:
    """Returns tensors as a record."""
    return ArrayRecord({name: Array(value.detach().cpu().numpy()) for name, value in tensors.items()})


def tensors(record: ArrayRecord) -> OrderedDict[str, Tensor]:
    """Returns the tensors of a record."""
    found: OrderedDict[str, Tensor] = record.to_torch_state_dict()
    return found


def size(content: RecordDict) -> int:
    """Returns the bytes of all tensors in a message."""
    return sum(array.numpy().nbytes for one in content.array_records.values() for array in one.values())


def order_content(order: Order) -> RecordDict:
    """Returns the content of the message that carries an order."""
    plain = {
        "number": order.number,
        "seed": order.seed,
        "noise": order.noise,
        "version": order.version,
        "protocol": order.protocol.to_json(),
        "refresh": None if order.refresh is None else asdict(order.refresh),
        "pull": {name: getattr(order.pull, name) for name in ("proximal", "weight", "temperature")},
    }
    content = RecordDict(
        {"weights": arrays(order.weights), "order": ConfigRecord({"json": canonical(plain)})}
    )
    if order.shared is not None:
        content["shared"] = arrays({"images": order.shared.images, "labels": order.shared.labels})
    if order.control is not None:
        content["control"] = arrays(order.control)
    return content


def read_order(content: RecordDict) -> Order:
    """Returns the order that a message carries."""
    record, held = content.config_records["order"], content.array_records
    plain = json.loads(str(record["json"]))
    shared = None
    if "shared" in held:
        both = tensors(held["shared"])
        shared = Labelled(both["images"], both["labels"])
    return Order(
        number=plain["number"],
        seed=plain["seed"],
        weights=tensors(held["weights"]),
        protocol=Protocol.from_json(plain["protocol"]),
        pull=Pull(**plain["pull"]),
        shared=shared,
        noise=plain["noise"],
        version=plain["version"],
        control=tensors(held["control"]) if "control" in held else None,
        refresh=None if plain["refresh"] is None else Refresh(**plain["refresh"]),
    )


def answer_content(answer: Answer) -> RecordDict:
    """Returns the content of the message that carries an answer."""
    metrics = MetricRecord({"steps": answer.steps, "loss": answer.loss})
    content = RecordDict({"weights": arrays(answer.weights), "metrics": metrics})
    if answer.change is not None:
        content["change"] = arrays(answer.change)
    return content


def read_answer(content: RecordDict) -> Answer:
    """Returns the answer that a message carries."""
    metrics, held = content.metric_records["metrics"], content.array_records
    return Answer(
        weights=tensors(held["weights"]),
        steps=int(number(metrics, "steps")),
        loss=number(metrics, "loss"),
        change=tensors(held["change"]) if "change" in held else None,
    )


def number(metrics: MetricRecord, name: str) -> float:
    """Returns one number of a record."""
    value = metrics[name]
    assert isinstance(value, int | float)
    return float(value)


def client_app(participants: Participants) -> ClientApp:
    """Returns the application that runs on each client.

    In Flower's simulation all clients are on one machine, and a node's configuration holds its number. On
    machines of your own, the configuration of each SuperNode has to hold ``partition-id=NUMBER``.

    Args:
        participants: Returns the client of a number. It is called where the client's data are.
    """
    app = ClientApp()
    # Partial functions, which Ray can send to the clients' processes by name.
    app.query()(partial(query, participants))
    app.train()(partial(train, participants))
    app.evaluate()(partial(evaluate, participants))
    return app


def query(participants: Participants, message: Message, context: Context) -> Message:
    """Says which client this is and, if it is asked, tells the statistics of its classes."""

    def reply() -> RecordDict:
        me = _mine(participants, context)
        content = RecordDict({"metrics": MetricRecord({"number": me.number})})
        if message.content.config_records["query"]["statistics"]:
            mean, std = me.statistics()
            content["statistics"] = arrays({"mean": mean, "std": std})
        return content

    return answered(message, reply)


def train(participants: Participants, message: Message, context: Context) -> Message:
    """Trains the server's network."""

    def reply() -> RecordDict:
        return answer_content(_mine(participants, context).answer(read_order(message.content)))

    return answered(message, reply)


def evaluate(participants: Participants, message: Message, context: Context) -> Message:
    """Tests the server's network."""

    def reply() -> RecordDict:
        percent = _mine(participants, context).tested(tensors(message.content.array_records["weights"]))
        return RecordDict({"metrics": MetricRecord({"accuracy": percent})})

    return answered(message, reply)


def _mine(participants: Participants, context: Context) -> Participant:
    return participants(int(context.node_config[PARTITION]))


def answered(message: Message, reply: Callable[[], RecordDict]) -> Message:
    """Returns the reply to a message, or an error that says in one line what went wrong."""
    try:
        return Message(reply(), reply_to=message)
    except Exception as error:  # whatever it is, it concerns this client alone
        told = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {first_line(error)}"
        return Message(Error(code=FAILED, reason=told), reply_to=message)
