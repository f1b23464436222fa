// ---- figures
let figuresShown = 0;
function figures(m) {
  $("f-tracked").textContent = m.process_rate.toFixed(m.process_rate < 10 ? 1 : 0);
  $("f-particles").textContent = m.track_count;
  $("f-lost").textContent = m.lost;
  $("lost").className = m.lost ? "bad" : "";
  $("f-ring").textContent = m.queue_depth + "/" + m.ring_slots;
  $("f-latency").textContent = (m.mean_ms || 0).toFixed(1);
  recording(m);
  rates.push(m.process_rate);
  if (rates.length > 120) rates.shift();
  history();
  $("steps").replaceChildren(
    row("", "median", "99 %", "most"),
    ...Object.entries(m.step_ms).map(([n, s]) => row(n, s.p50.toFixed(1), s.p99.toFixed(1), s.max.toFixed(1))),
  );
  $("processes").replaceChildren(...Object.entries(m.processes).map(([n, p]) => row(n, p.state, p.pid)));
  if (m.settings_newest !== fetchedVersion) refreshSettings();
  if (++figuresShown % 3 === 0) refreshLog();
}
let take = null;
function recording(m) {
  const r = (take = m.recording || null);
  $("storage").hidden = !r;
  $("rec").replaceChildren();
  const writes = r && Object.entries(r.outputs).some(([n, on]) => on && n !== "lsl");
  if (writes && r.state === "on") {
    const dot = document.createElement("span");
    dot.style.color = "var(--red)";
    dot.textContent = "● ";
    $("rec").append(dot, r.name + " · " + clock(r.seconds) + " · " + size(r.bytes));
  } else $("rec").textContent = r && r.state === "paused" ? "recording paused" : "nothing is recorded";
  if (!r) return;
  const may = hello && hello.may_operate;
  takeButtons(may, r.state);
  const left = r.minutes_left ?? null,
    alone = `take ${r.take}`;
  if (!recording.hold)
    $("rec-said").textContent =
      (r.state === "off" ? "off" : `${r.state}: ${r.name === alone ? alone : `${r.name}, ${alone}`}`) +
      (left === null
        ? ""
        : left < 180
          ? `, disk for ${Math.round(left)} min`
          : `, disk for ${Math.round(left / 60)} h`);
  const kinds = {
      hdf5: "tables, HDF5",
      images: "frames, HDF5",
      tiff: "frames, TIFF",
      csv: "tables, CSV",
      crops: "single particles",
      lsl: "Lab Streaming Layer",
    },
    p = m.processes;
  for (const [n, words] of Object.entries(kinds)) {
    const c = p[n] && p[n].counters,
      on = !!(r.outputs && r.outputs[n]),
      [b, said] = output(n, words);
    b.disabled = !may;
    b.setAttribute("aria-checked", on);
    said.textContent = !c
      ? "not in this run"
      : !on
        ? "off"
        : n === "lsl"
          ? `${c.consumers || 0} listener${c.consumers === 1 ? "" : "s"}`
          : r.state === "on"
            ? size(c.bytes || 0)
            : "waits";
  }
}
// A row with a switch for each format, made once: what is rebuilt every second cannot be clicked.
function output(n, words) {
  let tr = $("out-" + n);
  if (!tr) {
    tr = row(words, "", "");
    tr.id = "out-" + n;
    const b = document.createElement("button");
    b.type = "button";
    b.className = "switch";
    b.setAttribute("role", "switch");
    b.setAttribute("aria-label", words);
    tr.cells[2].append(b);
    $("outputs").append(tr);
    b.onclick = async () => {
      const a = await ask({ ask: "storage", values: { [n]: b.getAttribute("aria-checked") !== "true" } });
      if (!a.error) b.setAttribute("aria-checked", a.outputs[n]);
      saidOfTake(
        a.error ||
          `${words}: ${a.outputs[n] ? "on" : "off"} from ` +
            (a.from_frame === null ? "the next frame" : "frame " + a.from_frame) +
            " on",
        a.error,
      );
    };
  }
  return [tr.cells[2].firstChild, tr.cells[1]];
}
function saidOfTake(text, wrong) {
  recording.hold = true;
  clearTimeout(record.t);
  record.t = setTimeout(
    () => {
      recording.hold = false;
      $("rec-said").style.color = "";
    },
    wrong ? 8000 : 4000,
  );
  $("rec-said").textContent = text;
  $("rec-said").style.color = wrong ? "var(--red)" : "";
}
async function record(action) {
  const a = await ask({ ask: "record", action, name: action === "start" ? $("take-name").value.trim() : "" });
  saidOfTake(a.error || `${a.state}: ${a.name || "take " + a.take}`, a.error);
  if (a.error) return;
  take = Object.assign({}, take, { state: a.state }); // figures come once a second: buttons follow at once
  takeButtons(true, a.state);
}
function takeButtons(may, state) {
  $("rec-start").disabled = !may || state === "on";
  $("rec-pause").disabled = !may || state === "off";
  $("rec-pause").textContent = state === "paused" ? "Resume" : "Pause";
  $("rec-stop").disabled = !may || state === "off";
}
$("take").onsubmit = (e) => {
  e.preventDefault();
  record("start");
};
$("rec-pause").onclick = () => record(take && take.state === "paused" ? "resume" : "pause");
$("rec-stop").onclick = () => record("stop");
function row(...cells) {
  const tr = document.createElement("tr");
  for (const c of cells) tr.insertCell().textContent = c;
  return tr;
}
function clock(s) {
  s = Math.floor(s);
  return (
    (s >= 3600 ? Math.floor(s / 3600) + ":" : "") +
    String(Math.floor(s / 60) % 60).padStart(2, "0") +
    ":" +
    String(s % 60).padStart(2, "0")
  );
}
function size(b) {
  for (const u of ["B", "KB", "MB", "GB"]) {
    if (b < 1000 || u === "GB") return b.toFixed(u === "B" ? 0 : 1) + " " + u;
    b /= 1000;
  }
}
function history() {
  const c = $("history"),
    d = devicePixelRatio || 1,
    w = c.clientWidth * d,
    h = c.clientHeight * d;
  c.width = w;
  c.height = h;
  const g = c.getContext("2d"),
    top = Math.max(...rates, 1) * 1.15;
  g.strokeStyle = "#53b8a5";
  g.lineWidth = 1.5 * d;
  g.beginPath();
  rates.forEach((r, i) => {
    const x = w - ((rates.length - 1 - i) * w) / 119,
      y = h - 2 * d - (r / top) * (h - 4 * d);
    i ? g.lineTo(x, y) : g.moveTo(x, y);
  });
  g.stroke();
  g.fillStyle = "#858d99";
  g.font = 10 * d + "px system-ui";
  g.fillText(Math.round(top) + "/s", 2 * d, 10 * d);
}
async function refreshLog() {
  const a = await ask({ ask: "log", lines: 30 });
  if (!a.lines) return;
  const box = $("log"),
    low = box.scrollTop + box.clientHeight > box.scrollHeight - 20;
  box.replaceChildren(
    ...a.lines.map((l) => {
      const e = document.createElement("div");
      e.className = l.level;
      e.textContent =
        new Date(l.t_utc_ns / 1e6).toLocaleTimeString([], { hour12: false }) + " " + l.process + ": " + l.message;
      return e;
    }),
  );
  if (low) box.scrollTop = box.scrollHeight;
}
