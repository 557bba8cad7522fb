// Shows what the server tells; asks for nothing.

export const byId = (id) => document.getElementById(id);

function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Replace the rows of a <dl> where they have changed: [term, description, isWrong].
function setRows(id, rows) {
  const list = byId(id);
  const key = JSON.stringify(rows);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...rows.flatMap(([term, text, isWrong]) =>
    [make("dt", term), make("dd", text, isWrong ? "wrong" : "")]));
}

const numbers = (values, unit) => (values || []).map((v) => (v === null ? "–" : v)).join("  ") + unit;

export function showState(state) {
  const { cell, arm, hand, policy } = state;
  const badge = byId("cell-state");
  const name = cell.state === undefined || cell.silent ? "SILENT" : cell.state;
  badge.dataset.state = name;
  setText("cell-state", name);
  setText("cell-reason", name === "SILENT" ? "the supervisor is not heard of" : cell.reason);
  setText("instruction", state.instruction || policy.instruction || "none");
  showCell(state, arm, hand, policy);
  showLoop(state);
  showRecorder(state.recorder);
  showTrial(state.trial);
  showEvents(state.events);
}

function showCell(state, arm, hand, policy) {
  const rows = [];
  const add = (name, section, text, isWrong) => {
    if (section.silent === false || Object.keys(section).length > 1)
      rows.push([name, section.silent ? "silent" : text, section.silent || isWrong]);
  };
  add("Arm", arm, [arm.mode, arm.detail].filter(Boolean).join(": "), !["IDLE", "STREAMING"].includes(arm.mode));
  if (!arm.silent && arm.joints) {
    rows.push(["Joints", numbers(arm.joints, " °")], ["Tool", numbers(arm.position, " m")]);
    rows.push(["Speed", `${arm.speed} °/s`]);
  }
  add("Hand", hand, [hand.connected ? "connected" : "not connected", hand.detail].filter(Boolean).join(": "),
    !hand.connected || hand.has_error);
  if (!hand.silent && hand.positions) rows.push(["Fingers", numbers(hand.positions, "")]);
  add("Policy", { ...policy, silent: false }, [policy.name, policy.hash].filter(Boolean).join(" "), false);
  if (policy.inference_ms !== undefined)
    rows.push(["Chunks", policy.silent ? "none now" : `no. ${policy.chunk}, inferred in ${policy.inference_ms} ms`]);
  for (const [node, lifecycle] of Object.entries(state.cell.nodes || {}))
    if (lifecycle !== "active") rows.push([node, lifecycle, true]);
  for (const [node, note] of Object.entries(state.notes)) rows.push([node, note, true]);
  setRows("cell-details", rows);
}

function showLoop({ latency, gate }) {
  for (const name of ["p50", "p99"]) {
    const meter = byId(name);
    meter.max = 2 * latency.bound;
    meter.high = latency.bound;
    meter.low = meter.optimum = 0;
    meter.value = latency[name] ?? 0;
    setText(`${name}-text`, latency[name] === null ? "–" : `${latency[name]} ms`);
  }
  setText("latency-note", `${latency.chunks} chunks in the last ${latency.window} s; bound ${latency.bound} ms`);
  const refused = Object.entries(gate.refused).map(([rule, count]) => [rule, `${count}`, true]);
  setRows("refusals", refused.length ? refused : [["Nothing", ""]]);
  setText("last-refusal", gate.last ? `Last: ${gate.last}` : "");
}

function showRecorder(recorder) {
  const output = byId("recorder-state");
  output.dataset.recording = Boolean(recorder.recording);
  let text = "No recorder runs: start the graph with --record";
  if (recorder.folder !== undefined && !recorder.silent) {
    const warnings = recorder.warnings.length ? `; ${recorder.warnings.join("; ")}` : "";
    text = recorder.recording
      ? `● ${recorder.episode}: ${recorder.duration} s, ${recorder.frames} frames, ${recorder.dropped} dropped${warnings}`
      : `Ready; ${recorder.free_gb} GB free${warnings}`;
  }
  setText("recorder-state", text);
  const isThere = recorder.folder !== undefined && !recorder.silent;
  byId("record-start").disabled = !isThere || recorder.recording;
  for (const id of ["stop-success", "stop-failure", "stop-unjudged"]) byId(id).disabled = !isThere || !recorder.recording;
  byId("record-discard").disabled = !isThere || !recorder.episode;
  for (const button of byId("sub-tasks").children) button.disabled = !isThere || !recorder.recording;
}

function showTrial(trial) {
  const done = trial.done.length ? `; done: ${trial.done.join(", ")}` : "";
  setText("trial-state", trial.runs ? `${trial.trial} runs${done}` : trial.asks ? `${trial.trial} is set up` : `No trial runs${done}`);
  byId("question").hidden = !trial.asks;
  setText("question-text", trial.text);
  byId("answer-ready").hidden = trial.kind !== "set_up";
  for (const id of ["answer-yes", "answer-no", "answer-abort"]) byId(id).hidden = trial.kind !== "judge";
}

function showEvents(events) {
  const list = byId("events");
  const newest = String(events.at(-1)?.number ?? "");
  if (list.dataset.newest === newest) return;
  list.dataset.newest = newest;
  list.replaceChildren(...[...events].reverse().map((event) => {
    const item = make("li");
    item.append(make("time", `${new Date(event.time * 1e3).toLocaleTimeString()} `), `${event.subject}: ${event.event} ${event.text}`);
    return item;
  }));
}

// The list of episodes; wantPicture(name) is called for each picture that is missing.
export function showEpisodes(episodes, pictures, wantPicture) {
  byId("no-episodes").hidden = episodes.length > 0;
  byId("episodes").replaceChildren(...episodes.map((episode) => {
    const item = make("li");
    item.dataset.episode = episode.name;
    if (!pictures.has(episode.name)) wantPicture(episode.name);
    const text = make("div");
    text.append(make("strong", episode.name), make("span", episode.instruction));
    text.append(make("span", `${episode.duration} s, ${episode.frames} frames`));
    text.append(make("span", episode.outcome || "no verdict", episode.outcome));
    if (episode.warnings.length) text.append(make("span", episode.warnings.join("; "), "wrong"));
    item.append(thumbnail(pictures.get(episode.name)), text);
    return item;
  }));
}

export function showPicture(name, url) {
  const item = byId("episodes").querySelector(`[data-episode="${CSS.escape(name)}"]`);
  if (item) item.firstChild.replaceWith(thumbnail(url));
}

function thumbnail(url) {
  if (!url) return make("div", "", "blank");
  const image = make("img");
  image.src = url;
  image.alt = "";
  return image;
}
