"use strict";
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
const image = $("image"),
  over = $("over"),
  ctx = image.getContext("2d", { alpha: false }),
  octx = over.getContext("2d");
let socket = null,
  hello = null,
  retry = 0,
  timer = 0,
  ended = false,
  pendingAsks = new Map(),
  asked = 0;
let head = null,
  parts = null,
  previewXY = null,
  lastPicture = 0,
  shown = [],
  ages = [],
  trails = new Map(),
  rates = [];
let zoom = 1,
  panX = 0,
  panY = 0,
  fitted = true,
  overlay = true,
  trailsOn = false,
  frozen = false,
  settings = null,
  fetchedVersion = 0,
  bytes = 0,
  drawn = 0,
  connections = 0;
window.ringtrack = {
  get head() {
    return head;
  },
  get particles() {
    return parts;
  },
  get view() {
    return { zoom, panX, panY };
  },
  get shown() {
    return shown.length;
  },
  get state() {
    return $("state").dataset.s;
  },
  get bytes() {
    return bytes;
  },
  still,
};

// ---- diary of the connection: what became of it, and when; the newest first
const diary = [];
function note(words) {
  diary.unshift([new Date(), words]);
  diary.length = Math.min(diary.length, 40);
  $("diary").replaceChildren(
    ...diary.map(([t, text]) => {
      const line = document.createElement("div");
      line.textContent = t.toLocaleTimeString([], { hour12: false }) + " " + text;
      return line;
    }),
  );
}
function traffic() {
  const now = performance.now();
  came.log.push([now, bytes]);
  while (came.log.length > 2 && came.log[0][0] < now - 2000) came.log.shift();
  const [t, b] = came.log[0];
  $("f-rate").textContent = now > t ? size((1000 * (bytes - b)) / (now - t)) : "–";
  $("c-bytes").textContent = size(bytes);
  $("c-pictures").textContent = drawn;
  $("c-connections").textContent = connections;
}

// ---- connection: connecting, live, stale (no picture for a second, or none yet), lost, ended
let opened = 0;
function state(s, words) {
  if ($("state").dataset.s !== s || !diary.length) note(words || s);
  $("state").dataset.s = s;
  $("state").lastChild.textContent = words || s;
  $("again").hidden = !(s === "lost" || s === "ended");
}
function connect() {
  clearTimeout(timer);
  state("connecting");
  socket = new WebSocket(
    (location.protocol === "https:" ? "wss://" : "ws://") +
      location.host +
      "/socket" +
      (token ? "?token=" + encodeURIComponent(token) : ""),
  );
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    retry = 0;
    connections++;
    opened = performance.now();
    note("connected");
    want();
  };
  socket.onmessage = (m) => (typeof m.data === "string" ? told(JSON.parse(m.data)) : came(m.data));
  socket.onclose = () => {
    for (const done of pendingAsks.values()) done({ error: "the connection was lost" });
    pendingAsks.clear();
    if (ended) {
      state("ended", "run ended");
    } else state("lost", "lost, trying again");
    warn();
    timer = setTimeout(connect, Math.min(5000, 250 * 2 ** retry++));
  };
}
$("again").onclick = () => {
  retry = 0;
  if (socket) {
    socket.onclose = null;
    socket.close();
  }
  connect();
};
function send(o) {
  if (socket && socket.readyState === 1) socket.send(JSON.stringify(o));
}
function ask(o) {
  return new Promise((done) => {
    const id = ++asked;
    if (!socket || socket.readyState !== 1) return done({ error: "not connected" });
    pendingAsks.set(id, done);
    send({ ask: Object.assign({ v: 1 }, o), id });
  });
}
function want() {
  const box = $("view").getBoundingClientRect(),
    dpr = Math.min(2, devicePixelRatio || 1);
  const px = Math.round(Math.max(box.width, box.height) * dpr * Math.max(1, zoom / fitZoom()));
  send({
    want: {
      most_px: Math.max(64, Math.min(4096, px)),
      quality: +$("quality").value,
      fps: +$("rate").value,
      paused: frozen || document.hidden,
    },
  });
}
function told(m) {
  if (m.hello) {
    hello = m.hello;
    ended = false;
    $("name").textContent = hello.name;
    document.title = hello.name + " · ringtrack";
    $("name").title = hello.run_folder;
    $("rec").textContent = hello.recording ? "" : "nothing is recorded";
    trails.clear();
    head = null;
    parts = null;
    coming = [];
    waiting = null;
    operate(hello.may_operate);
    refreshSettings();
    refreshLog();
    seeLight();
    if (fitted) fit();
  }
  if (m.metrics) figures(m.metrics);
  if (m.viewers) $("f-viewers").textContent = m.viewers;
  if (m.ended) ended = true;
  if (m.id && pendingAsks.has(m.id)) {
    pendingAsks.get(m.id)(m.answer);
    pendingAsks.delete(m.id);
  }
}
function operate(may) {
  for (const e of document.querySelectorAll("#apply, #undo, #mark input, #mark button"))
    e.disabled = !may;
  if (may) edited();
}
