// The WebSocket to the console's server: connects, says at once when the connection is lost, and connects again.
// A request that cannot be sent now is refused, never kept for later.

const SILENT_AFTER_MS = 1000;  // the server tells the state five times a second
const GIVE_UP_AFTER_MS = 4000;
const RETRY_MS = 1000;
const ANSWER_WITHIN_MS = 65000;
const WRONG_TOKEN = 4401;
const TOKEN_KEY = "vipa-console-token";

export class Connection {
  // on: hello, state, episodes(content); frame(camera, jpeg); thumbnail(episode, jpeg); lost(reason, needsToken); found()
  constructor(on) {
    this.on = on;
    this.socket = null;
    this.isLive = false;
    this.heard = 0;
    this.seen = 0;
    this.lastId = 0;
    this.open = new Map();  // requests without an answer, by id
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) {
      sessionStorage.setItem(TOKEN_KEY, given);
      history.replaceState(null, "", location.pathname);
    }
    setInterval(() => this.watch(), 200);
    this.connect();
  }

  useToken(token) {
    sessionStorage.setItem(TOKEN_KEY, token);
    this.connect();
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard = performance.now();
    socket.onopen = () => socket.send(JSON.stringify({ token: sessionStorage.getItem(TOKEN_KEY) || "" }));
    socket.onmessage = (event) => { if (socket === this.socket) this.take(event.data); };
    socket.onclose = (event) => { if (socket === this.socket) this.closed(event); };
  }

  closed(event) {
    this.socket = null;
    const needsToken = event.code === WRONG_TOKEN;
    this.lose(event.reason || "The server does not answer. Connecting again …", needsToken);
    if (!needsToken) setTimeout(() => { if (!this.socket) this.connect(); }, RETRY_MS);
  }

  lose(reason, needsToken = false) {
    this.isLive = false;
    for (const settle of this.open.values()) settle({ success: false, message: "The connection was lost" });
    this.open.clear();
    this.on.lost(reason, needsToken);
  }

  watch() {
    const silence = performance.now() - this.heard;
    if (this.isLive && silence > SILENT_AFTER_MS) this.lose("The server is silent.");
    if (this.socket && silence > GIVE_UP_AFTER_MS) {
      const silent = this.socket;
      this.socket = null;
      silent.close();
      this.closed({ code: 0, reason: "" });
    }
  }

  take(data) {
    this.heard = performance.now();
    if (data instanceof ArrayBuffer) {
      const bytes = new Uint8Array(data);
      const end = bytes.indexOf(10);
      const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
      const jpeg = new Blob([bytes.subarray(end + 1)], { type: "image/jpeg" });
      if (header.kind === "frame") this.on.frame(header.camera, jpeg);
      else this.on.thumbnail(header.episode, jpeg);
      return;
    }
    const content = JSON.parse(data);
    if (content.kind === "reply") {
      this.open.get(content.id)?.(content);
      this.open.delete(content.id);
      return;
    }
    if (content.kind === "state") {
      this.seen = content.now;
      if (!this.isLive) {
        this.isLive = true;
        this.on.found();
      }
    }
    this.on[content.kind](content);
  }

  // Ask for an action; gives {success, message}.
  ask(action, fields = {}) {
    if (!this.isLive) return Promise.resolve({ success: false, message: "Not sent: there is no connection" });
    const id = this.send(action, fields);
    return new Promise((settle) => {
      this.open.set(id, settle);
      setTimeout(() => {
        if (this.open.delete(id)) settle({ success: false, message: `${action}: no answer` });
      }, ANSWER_WITHIN_MS);
    });
  }

  // Send without waiting for an answer.
  send(action, fields = {}) {
    this.lastId += 1;
    if (this.socket?.readyState === WebSocket.OPEN)
      this.socket.send(JSON.stringify({ id: this.lastId, do: action, seen: this.seen, ...fields }));
    return this.lastId;
  }
}
