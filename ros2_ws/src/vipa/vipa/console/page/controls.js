// What the operator can do: buttons, keys, questions.

import { byId } from "./view.js";

const CONFIRM_STOP_MS = 1000;
let connection = null;
let trial = null;
let cellState = "";
let defaultNames = [];

const isTyping = () => document.activeElement?.matches("input, textarea");

function tell(reply) {
  byId("message").dataset.success = reply.success;
  byId("message").textContent = reply.message;
}

async function ask(action, fields) {
  tell(await connection.ask(action, fields));
}

let lastStop = 0;

function stop() {
  if (performance.now() - lastStop < 100) return;  // the click that follows a touch
  lastStop = performance.now();
  ask("stop");
  setTimeout(() => {
    if (cellState === "READY" && performance.now() - lastStop >= CONFIRM_STOP_MS)
      tell({ success: false, message: "The stop is not confirmed: use the emergency stop" });
  }, CONFIRM_STOP_MS + 100);
}

// Ask the operator before an action; label: of a text that is needed too. Gives the text, or null.
function confirmed(text, yes, label = "") {
  const dialog = byId("ask");
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  byId("ask-label").textContent = label;
  byId("ask-label").hidden = byId("ask-input").hidden = !label;
  byId("ask-input").value = "";
  dialog.showModal();
  return new Promise((settle) => {
    byId("ask-yes").onclick = () => { settle(byId("ask-input").value.trim()); dialog.close(); };
    byId("ask-no").onclick = () => dialog.close();
    dialog.onclose = () => settle(null);
  });
}

async function reset() {
  if (await confirmed("The robot may move at once. Is nobody within its reach?", "Reset and allow motion") !== null)
    ask("reset");
}

async function discard() {
  const reason = await confirmed("Set the episode aside?", "Discard", "Reason");
  if (reason !== null) ask("record_discard", { text: reason });
}

async function answer(kind) {
  const { trial: name, sub_task } = trial;
  let text = "";
  if (kind === "abort") {
    text = await confirmed("End this trial without a verdict?", "Abort trial", "Reason (needed)");
    if (text === null) return;
    if (!text) { tell({ success: false, message: "An abort needs a reason" }); return; }
  }
  ask("answer", { trial: name, sub_task, kind, text });
}

function mark(index) {
  const button = byId("sub-tasks").children[index];
  if (button && !button.disabled) ask("mark", { kind: "sub_task", text: button.dataset.name });
}

function showSubTasks(names) {
  byId("sub-tasks").replaceChildren(...names.slice(0, 9).map((name, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = name;
    button.textContent = `${index + 1} ${name}`;
    button.setAttribute("aria-label", `Mark sub-task ${index + 1}: ${name}`);
    button.setAttribute("aria-keyshortcuts", `${index + 1}`);
    button.disabled = true;
    button.onclick = () => mark(index);
    return button;
  }));
}

const namesKey = (task) => `vipa-console-sub-tasks-${task}`;

export function showTask(hello) {
  defaultNames = hello.sub_tasks.length ? hello.sub_tasks : ["sub-task 1", "sub-task 2", "sub-task 3"];
  const names = JSON.parse(localStorage.getItem(namesKey(hello.task)) || "null") || defaultNames;
  const field = byId("sub-task-names");
  field.value = names.join("\n");
  field.onchange = () => {
    const given = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (given.length) localStorage.setItem(namesKey(hello.task), JSON.stringify(given));
    else localStorage.removeItem(namesKey(hello.task));
    showSubTasks(given.length ? given : defaultNames);
  };
  showSubTasks(names);
}

// Take in what the buttons depend on.
export function follow(state) {
  trial = state.trial;
  cellState = state.cell.state;
}

// Space and Escape stop, wherever the focus is; only in a text field Space is a space.
function onKey(event) {
  const isStop = event.key === "Escape" || (event.key === " " && !isTyping());
  if (isStop) {
    event.preventDefault();
    if (event.type === "keydown" && !event.repeat) {
      byId("ask").close();
      stop();
    }
  } else if (event.type === "keydown" && /^[1-9]$/.test(event.key) && !isTyping() && !event.repeat
    && !event.ctrlKey && !event.altKey && !event.metaKey && !byId("ask").open) {
    mark(Number(event.key) - 1);
  }
}

export function wire(given) {
  connection = given;
  byId("stop").addEventListener("pointerdown", stop);
  byId("stop").addEventListener("click", stop);  // of a screen reader, or Enter
  document.addEventListener("keydown", onKey, true);
  document.addEventListener("keyup", onKey, true);
  byId("reset").onclick = reset;
  byId("instruction-form").onsubmit = (event) => {
    event.preventDefault();
    const text = byId("instruction-text").value.trim();
    if (text) ask("instruct", { text });
  };
  byId("hold").onclick = () => ask("instruct", { text: "hold" });
  byId("record-start").onclick = () => {
    const typed = byId("instruction-text").value.trim();
    const text = typed || byId("instruction").textContent;
    ask("record_start", { text: text === "none" ? "" : text });
  };
  for (const [id, kind] of [["stop-success", "success"], ["stop-failure", "failure"], ["stop-unjudged", ""]])
    byId(id).onclick = () => ask("record_stop", { kind });
  byId("record-discard").onclick = discard;
  for (const kind of ["ready", "yes", "no", "abort"]) byId(`answer-${kind}`).onclick = () => answer(kind);
}
