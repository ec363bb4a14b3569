// The plots: scores against IPC and against bytes, of the dataset, protocol and student with most rows in the view.
"use strict";

{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let last = { text: "", found: [] };

  // Of the rows that are shown, the group with most sets; the first one of several.
  function largest(found) {
    const groups = new Map();
    for (const row of found) {
      if (row.kind === "reference") continue;
      const key = JSON.stringify([row.dataset, row.protocol, row.student]);
      groups.set(key, (groups.get(key) || 0) + 1);
    }
    const most = [...groups].reduce((best, one) => (best && best[1] >= one[1] ? best : one), null);
    return most && JSON.parse(most[0]);
  }

  function points(group) {
    const [dataset, protocol, student] = group;
    const wanted = { ...state, dataset, protocol, student };
    return rows.filter((row) => fits(row, wanted, "size")).map((row) => ({
      name: fullName(row) + (row.more ? ` (${row.more})` : ""), score: row.score, measure: row.measure,
      low: Math.max(0, row.score - (row.half ?? 0)), high: Math.min(100, row.score + (row.half ?? 0)),
      ipc: row.x, bytes: row.kind === "reference" ? null : row.bytes, reference: row.kind === "reference",
      told: row.text.score, size: row.text.bytes, count: row.text.units, missing: row.missing ?? "no",
    }));
  }

  // References with nearly the same score share a label.
  function labels(references) {
    const found = [];
    for (const one of references.slice().sort((a, b) => a.score - b.score)) {
      const last = found.at(-1);
      if (last && one.score - last.score < 3) last.name += `, ${one.name}`;
      else found.push({ name: one.name, score: one.score });
    }
    return found;
  }

  function config(width) {
    const columns = Math.max(1, Math.floor((width - 110) / 160));
    const style = getComputedStyle(document.documentElement);
    const [text, line] = ["--text", "--line"].map((name) => style.getPropertyValue(name).trim());
    const axis = { labelColor: text, titleColor: text, gridColor: line, domainColor: line, tickColor: line };
    return { background: "transparent", axis, view: { stroke: line }, font: "system-ui, sans-serif",
      legend: { labelColor: text, titleColor: text, labelLimit: (width - 110) / columns - 24, symbolLimit: 40, orient: "bottom", columns } };
  }

  function spec(values, x, measure, width) {
    const sets = values.filter((one) => !one.reference && one[x.field] > 0);
    const references = values.filter((one) => one.reference);
    const tooltip = [
      { field: "name", title: "method" }, { field: "told", title: measure }, { field: "ipc", title: "IPC" },
      { field: "size", title: "bytes" }, { field: "count", title: "sets × students" }, { field: "missing", title: "incomplete" },
    ];
    const color = { field: "name", type: "nominal", title: null, scale: { scheme: dark.matches ? "set2" : "dark2" } };
    if (new Set(sets.map((one) => one.name)).size > 8) color.scale = { scheme: "tableau20" };
    const axis = { field: x.field, type: "quantitative", title: x.title, scale: { type: "log", nice: false, padding: 12 },
      axis: { grid: false, format: x.format, values: x.values(sets), labelOverlap: true, ...x.axis } };
    const y = { type: "quantitative", scale: { zero: false, padding: 8 }, title: `${measure} in %` };
    const opacity = { condition: { param: "chosen", value: 1 }, value: 0.12 };
    const text = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width: "container", height: 260, config: config(width), autosize: { type: "fit-x", contains: "padding" },
      layer: [
        { data: { values: sets }, mark: { type: "line", strokeWidth: 1.5 },
          params: [{ name: "chosen", select: { type: "point", fields: ["name"] }, bind: "legend" }],
          encoding: { x: axis, y: { field: "score", ...y }, color, opacity } },
        { data: { values: sets }, mark: { type: "rule" },
          encoding: { x: axis, y: { field: "low", ...y }, y2: { field: "high" }, color, opacity } },
        { data: { values: sets }, mark: { type: "point", filled: true, size: 55 },
          encoding: { x: axis, y: { field: "score", ...y }, color, shape: { field: "name", legend: null }, opacity, tooltip } },
        ...(!references.length ? [] : [{ data: { values: references }, mark: { type: "rule", strokeDash: [5, 4], color: text },
          encoding: { y: { field: "score", ...y }, tooltip: tooltip.slice(0, 2) } },
        { data: { values: labels(references) },
          mark: { type: "text", align: "left", baseline: "bottom", dx: 4, dy: -2, color: text, fontSize: 10, limit: width - 90 },
          encoding: { x: { value: 0 }, y: { field: "score", ...y }, text: { field: "name" } } }]),
      ],
    };
  }

  const AXES = {
    "by-size": { field: "ipc", title: "IPC", what: "images or graphs per class", format: "~g",
      values: (sets) => [...new Set(sets.map((one) => one.ipc))].sort((a, b) => a - b), axis: {} },
    "by-bytes": { field: "bytes", title: "bytes of a set", what: "bytes of a set", format: "~s", values: () => undefined,
      axis: { tickCount: 5 } },
  };

  async function plot(found) {
    last.found = found;
    if (!byId("plots").open) return;
    const group = largest(found);
    const values = group ? points(group) : [];
    const measure = values.find((one) => one.measure !== "accuracy") ? "ROC-AUC" : "accuracy";
    const text = JSON.stringify([values, dark.matches, group]);
    if (text === last.text) return;
    last.text = text;
    byId("plotted").textContent = group
      ? `${group.join(", ")}: the dataset, protocol and student with most rows in this view. A click in a legend shows one method alone.`
      : "There is nothing to plot in this view.";
    for (const [name, axis] of Object.entries(AXES)) {
      byId(`${name}-title`).textContent = group ? `${measure} against ${axis.what}` : "";
      const drawn = values.some((one) => !one.reference && one[axis.field] > 0);
      if (!drawn) { byId(name).replaceChildren(group ? "No row has this number." : ""); continue; }
      const options = { actions: { export: true, source: false, compiled: false, editor: false }, renderer: "svg", ast: true,
        tooltip: { theme: dark.matches ? "dark" : "light" }, downloadFileName: `condense-${name}` };
      const { view } = await vegaEmbed(byId(name), spec(values, axis, measure, byId(name).clientWidth), options);
      view.description(`${measure} against ${axis.what}: ${group.join(", ")}`);
    }
  }

  listeners.push(plot);
  const again = () => plot(last.found);
  dark.addEventListener("change", again);
  byId("plots").addEventListener("toggle", again);
  plot(rows.filter((row) => fits(row, state)));
}
