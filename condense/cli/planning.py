"""The command that tells what work would take, before it begins."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from condense.cli.command import WORK, command
from condense.cli.layout import columns
from condense.cli.options import JUDGING, MAKING, Options
from condense.cli.output import AsJson, write_json

if TYPE_CHECKING:
    from condense.resources import Machine
    from condense.runner.plan import Plan

WORKERS = (1, 2, 4, 8, 16)
"""Numbers of workers for which a plan tells the time."""


@command(
    *(*MAKING, *JUDGING, "device"),
    group=WORK,
    examples=(
        "condense plan benchmarks/cpu.toml --data-dir data",
        "condense plan --method mtt --ipc 50 --dataset cifar10",
    ),
)
def plan(
    options: Options,
    queue: Annotated[
        Path | None,
        typer.Argument(help="A TOML file of [[cell]] tables; without one, the cell of the options."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a queue or a cell would take on this machine: time, memory and disk, from a few steps."""
    from condense.errors import Failed, Refused
    from condense.evaluation.evaluate import say
    from condense.runner.plan import name_of, plan
    from condense.runner.queue import read_queue

    cells = [options.cell()] if queue is None else read_queue(queue)
    made = plan(
        cells, options.paths(), options.machine(), with_baselines=queue is None or None, required=False,
        tell=say,
    )  # fmt: skip
    if queue is None and made.refused:
        raise made.refused[0][1]
    for _, why in made.refused:
        if isinstance(why, Failed):
            say(why.trace)
    made.save(name_of(cells))
    if as_json:
        write_json(_values(made))
    else:
        for line in _lines(made, options.machine()):
            typer.echo(line)
    if len(made.refused) == len(cells):
        raise Refused(f"none of the {len(cells)} cells of {queue} can be filled")


def _values(plan: "Plan") -> dict[str, Any]:
    units, refused = [], dict[str, str]()
    for title, why in plan.refused:
        refused[title] = "; ".join(filter(None, [refused.get(title), str(why)]))
    for unit in plan.units:
        cost = asdict(plan.estimates[unit.key]) if unit.key in plan.estimates else {}
        shown = {"key": unit.key, "stage": unit.stage, "title": unit.title, "needs": list(unit.needs)}
        units.append(shown | cost | {"unknown": plan.unknown.get(unit.key)})
    return {
        "device": plan.device,
        "threads": plan.threads,
        "units": units,
        "refused": refused,
        "seconds": plan.seconds,
        "critical_seconds": plan.critical_seconds,
        "peak_bytes": plan.peak_bytes,
        "disk_bytes": plan.disk_bytes,
        "seconds_with_workers": {str(count): plan.with_workers(count) for count in WORKERS},
    }


def _lines(plan: "Plan", machine: "Machine") -> list[str]:
    """Returns a plan as text: a line for units that cost the same, then what all of them take."""
    from condense.files import in_bytes
    from condense.resources import available_memory, duration
    from condense.runner.plan import above_memory

    if not plan.units and not plan.refused:
        return ["everything is done already"]
    groups: dict[tuple[str, str, Any], list[str]] = {}
    for unit in plan.units:
        cost = plan.estimates.get(unit.key)
        groups.setdefault((unit.cell.title, unit.stage, cost), []).append(unit.key)
    rows = [["units", "each", "memory", "disk", "what"]]
    for (title, stage, cost), keys in groups.items():
        shown = ["?", "?", "?"]
        if cost is not None:
            shown = [duration(cost.seconds), *map(in_bytes, (cost.peak_bytes, cost.disk_bytes))]
        rows.append([str(len(keys)), *shown, f"{stage}: {title}"])
    lines = [*columns(rows, indent=0), ""] if plan.units else []
    lines += [*(f"unknown: {why}" for why in dict.fromkeys(plan.unknown.values()))]
    lines += [f"cannot be filled: {title}: {why}" for title, why in plan.refused]
    if not plan.units:
        return lines
    on = f"{plan.threads} thread{'s' * (plan.threads > 1)} of {plan.device}"
    times = ", ".join(f"{count}: {duration(plan.with_workers(count))}" for count in WORKERS)
    most, room = in_bytes(plan.peak_bytes), in_bytes(available_memory(machine.device))
    lines += [
        f"{len(plan.units)} units, {duration(plan.seconds)} one after the other on {on}",
        f"with workers that are each as fast: {times}; never less than {duration(plan.critical_seconds)}",
        f"memory of the largest unit {most}, and {room} are available; disk {in_bytes(plan.disk_bytes)}",
    ]
    return lines + above_memory(plan, machine)
