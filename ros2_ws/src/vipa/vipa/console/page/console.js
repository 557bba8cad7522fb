// The operator console: joins the connection, the view and the controls; draws the cameras.

import { Connection } from "./connection.js";
import { follow, showTask, wire } from "./controls.js";
import { byId, showEpisodes, showPicture, showState } from "./view.js";

const canvases = new Map();  // by camera
const pictures = new Map();  // addresses of thumbnails, by episode
const wanted = [];  // thumbnails that are to be asked for, one after the other
let isAsking = false;
let asked = new Set();  // cameras of which a picture is on its way

const connection = new Connection({
  hello(content) {
    byId("lab").textContent = content.lab;
    showTask(content);
    canvases.clear();
    byId("cameras").replaceChildren(...content.cameras.map(makeCamera));
    asked = new Set();
    askForFrames();
  },
  state(content) {
    follow(content);
    showState(content);
  },
  episodes(content) {
    wanted.length = 0;
    showEpisodes(content.list, pictures, (name) => wanted.push(name));
    askForThumbnail();
  },
  async frame(camera, jpeg) {
    asked.delete(camera);
    try {
      const bitmap = await createImageBitmap(jpeg);
      const canvas = canvases.get(camera);
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height)
        [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      canvas.dataset.frames = Number(canvas.dataset.frames) + 1;
      bitmap.close();
    } catch (error) {
      console.warn(`camera ${camera}: a picture could not be drawn: ${error}`);
    }
    askForFrames();
  },
  thumbnail(episode, jpeg) {
    if (jpeg.size) {
      pictures.set(episode, URL.createObjectURL(jpeg));
      showPicture(episode, pictures.get(episode));
    }
    isAsking = false;
    askForThumbnail();
  },
  lost(reason, needsToken) {
    isAsking = false;
    byId("everything").inert = true;
    byId("lost").hidden = false;
    byId("lost-title").textContent = needsToken ? "This console needs a token" : "Connection lost";
    byId("lost-reason").textContent = reason;
    byId("token-form").hidden = !needsToken;
  },
  found() {
    byId("everything").inert = false;
    byId("lost").hidden = true;
  },
});

function makeCamera(name) {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [480, 360];
  canvas.dataset.camera = name;
  canvas.dataset.frames = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Live picture of camera ${name}`);
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(canvas, caption);
  canvases.set(name, canvas);
  return figure;
}

// Ask for the next picture of each camera, unless nobody can see it.
function askForFrames() {
  if (document.hidden) return;
  for (const camera of canvases.keys()) {
    if (!asked.has(camera)) {
      asked.add(camera);
      connection.send("frame", { camera });
    }
  }
}

function askForThumbnail() {
  if (isAsking || !wanted.length) return;
  isAsking = true;
  connection.send("thumbnail", { episode: wanted.shift() });
}

document.addEventListener("visibilitychange", askForFrames);
byId("token-form").onsubmit = (event) => {
  event.preventDefault();
  connection.useToken(byId("token").value.trim());
};
wire(connection);
