// Runs, versions, roll-back, and the run that is going on.

import { get, post } from "./api.js";
import { element, find, row, table } from "./dom.js";

const SYMBOLS = { done: "✓", resolved: "✓", cached: "✓", failed: "✗", rejected: "✗", running: "▸", waiting: "·" };
const number = (value) => (value === null ? "–" : value.toFixed(4));

export async function showWorkspace(onError) {
  const found = await get("/api/workspace");
  find("run-table").replaceChildren(runs(found));
  find("version-table").replaceChildren(versions(found, onError));
}

function runs(found) {
  const rows = found.runs.map((run) => {
    const isBad = ["rejected", "failed"].includes(run.result);
    const link = element("a", { href: `/report/${run.run_id}`, textContent: "report", target: "_blank" });
    const reasons = [...run.reasons];
    if (run.gates_off.length) reasons.push(`gates off: ${run.gates_off.join(", ")}`);
    return row(
      run.run_id,
      element("span", { className: isBad ? "bad" : "", textContent: run.result }),
      number(run.accuracy),
      run.version,
      run.seconds === null ? null : `${run.seconds.toFixed(0)} s`,
      run.has_report ? link : null,
      element("td", { className: "reason", textContent: reasons.join("; ") || "–" }),
    );
  });
  const caption = `The runs in ${found.root}, the newest first`;
  return table(caption, ["run", "result", "accuracy", "version", "took", "report", "gates"], rows);
}

function versions(found, onError) {
  const rows = found.versions.map((version) => {
    const button = element("button", { type: "button", textContent: "Serve" });
    button.setAttribute("aria-label", `Serve version ${version.version}`);
    button.addEventListener("click", () => rollBack(version.version, found.name, onError));
    const change = version.accuracy_change;
    return row(
      `${version.version}`,
      element("span", { className: { served: "good", withdrawn: "bad" }[version.state] ?? "", textContent: version.state }),
      number(version.accuracy),
      change === null ? null : `${change < 0 ? "" : "+"}${change.toFixed(4)}`,
      version.champion === null ? null : `${version.champion}`,
      version.run_id,
      element("a", { href: `/card/${version.version}`, textContent: "card", target: "_blank" }),
      version.state === "served" ? "" : button,
    );
  });
  const headings = ["version", "state", "accuracy", "change", "champion", "run", "model card", ""];
  return table(`The pushed versions of ${found.name}, the newest first`, headings, rows);
}

async function rollBack(version, name, onError) {
  const dialog = find("confirm");
  find("confirm-text").textContent =
    `Serve version ${version} of ${name}? Newer versions are withdrawn; they can be served again here.`;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  try {
    await post("/api/rollback", JSON.stringify({ version }));
  } catch (error) {
    onError(error);
  }
  await showWorkspace(onError);
}

/** Shows the run that is going on; returns whether there is one. */
export async function showProgress() {
  const run = await get("/api/progress");
  find("live").hidden = find("live-link").hidden = run === null;
  if (run === null) return false;
  const ended = run.nodes.filter((node) => !["waiting", "running"].includes(node.state)).length;
  find("live-run").textContent = `Run ${run.run_id}: ${
    run.nodes.length ? `${ended} of ${run.nodes.length} components` : "loading TensorFlow and TFX"
  }.`;
  find("nodes").replaceChildren(...run.nodes.map(line));
  return true;
}

function line(node) {
  const isBad = ["rejected", "failed"].includes(node.state);
  const text = `${SYMBOLS[node.state] ?? "·"} ${node.node}, ${node.state}`;
  const seconds = ["waiting", "running"].includes(node.state) ? "" : ` ${node.seconds.toFixed(1)} s`;
  const made = element("li", { className: isBad ? "bad" : "", textContent: `${text}${seconds} ` });
  if (node.state === "running" && node.share !== undefined) {
    const bar = element("progress", { max: 1, value: node.share });
    bar.setAttribute("aria-label", node.node);
    made.append(bar, ` ${node.details ?? ""}`);
  }
  return made;
}
