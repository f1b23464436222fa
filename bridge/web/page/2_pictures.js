// ---- pictures
function parse(data) {
  const v = new DataView(data);
  return {
    kind: v.getUint8(0),
    settings: v.getUint8(1),
    step: v.getUint16(2, true),
    width: v.getUint32(4, true),
    height: v.getUint32(8, true),
    frame: Number(v.getBigInt64(12, true)),
    place: Number(v.getBigInt64(20, true)),
    age: v.getFloat64(28, true),
    count: v.getFloat64(36, true),
  };
}
const HEAD_BYTES = 44;
// One picture is decoded while the next is on its way: the server hears of one when its decoding begins. Particles come
// before their picture and wait here for it. A picture belongs to the connection it came by: decoded after that one was
// lost, it must neither say "live" nor be taken for one of the next connection's run.
let coming = [],
  waiting = null,
  decoding = false;
came.log = [];
function came(data) {
  bytes += data.byteLength;
  const h = parse(data),
    arrived = performance.now();
  if (h.kind === 2) {
    const f = new Float32Array(data.slice(HEAD_BYTES)),
      n = new Uint32Array(f.buffer);
    coming.push({ place: h.place, f, n, count: f.length / 4 });
    if (coming.length > 4) coming.shift();
    return;
  }
  if (decoding) waiting = [h, data, arrived, socket];
  else show(h, data, arrived, socket);
}
async function show(h, data, arrived, from) {
  decoding = true;
  for (;;) {
    if (from === socket) send({ seen: h.place });
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(new Blob([new Uint8Array(data, HEAD_BYTES)], { type: "image/jpeg" }));
    } catch (e) {
      /* the next will do */
    }
    if (bitmap) {
      if (!frozen && from === socket) draw(h, bitmap, arrived);
      bitmap.close();
    }
    if (!waiting) break;
    [h, data, arrived, from] = waiting;
    waiting = null;
  }
  decoding = false;
}
function draw(h, bitmap, arrived) {
  const resized = image.width !== bitmap.width || image.height !== bitmap.height;
  if (resized) {
    image.width = bitmap.width;
    image.height = bitmap.height;
  }
  ctx.drawImage(bitmap, 0, 0);
  parts = coming.find((c) => c.place === h.place) || parts;
  coming = coming.filter((c) => c.place > h.place);
  const first = !head || head.width !== h.width;
  head = h;
  if (first && fitted) fit();
  else if (resized) place();
  drawOver();
  const now = performance.now();
  lastPicture = now;
  drawn++;
  shown.push(now);
  ages.push(h.age + now - arrived);
  if (ages.length > 60) ages.shift();
  while (shown.length && shown[0] < now - 2000) shown.shift();
  if ($("state").dataset.s !== "live" && socket.readyState === 1) {
    state("live");
    warn();
  }
  if (ringtrack.drawn) ringtrack.drawn(h);
}
function drawOver() {
  const w = $("view").clientWidth,
    hgt = $("view").clientHeight,
    dpr = devicePixelRatio || 1;
  if (over.width !== Math.round(w * dpr) || over.height !== Math.round(hgt * dpr)) {
    over.width = Math.round(w * dpr);
    over.height = Math.round(hgt * dpr);
    over.style.width = w + "px";
    over.style.height = hgt + "px";
  }
  octx.setTransform(1, 0, 0, 1, 0, 0);
  octx.clearRect(0, 0, over.width, over.height);
  if (!head) return;
  const k = zoom * dpr,
    ox = panX * dpr,
    oy = panY * dpr,
    at = (v) => (v + 0.5) * k;
  if (parts && parts.place === head.place) {
    if (trailsOn) follow();
    if (overlay) {
      octx.strokeStyle = "#53e0c4";
      octx.lineWidth = 1.3 * dpr;
      octx.beginPath();
      for (let i = 0; i < parts.count; i++) {
        const x = at(parts.f[4 * i]) + ox,
          y = at(parts.f[4 * i + 1]) + oy,
          r = Math.max(4 * dpr, (parts.f[4 * i + 2] * 1.8 + 1) * k);
        octx.moveTo(x + r, y);
        octx.arc(x, y, r, 0, 7);
      }
      octx.stroke();
    }
    if (trailsOn) {
      octx.lineWidth = 1.2 * dpr;
      for (const [n, t] of trails) {
        octx.strokeStyle = `hsl(${(n * 47) % 360} 80% 62%)`;
        octx.beginPath();
        t.p.forEach((p, i) =>
          i ? octx.lineTo(at(p[0]) + ox, at(p[1]) + oy) : octx.moveTo(at(p[0]) + ox, at(p[1]) + oy),
        );
        octx.stroke();
      }
    }
  }
  if (light)
    for (const t of light.traps) {
      const x = at(t.x) + ox,
        y = at(t.y) + oy,
        r = 8 * dpr;
      octx.strokeStyle = t.hold === "held" ? "#ff5fa2" : "#9aa0a6";
      octx.lineWidth = 1.6 * dpr;
      octx.strokeRect(x - r, y - r, 2 * r, 2 * r);
      if (held && held.trap === t.trap) {
        const u = at(held.to[0]) + ox,
          v = at(held.to[1]) + oy;
        octx.beginPath();
        octx.moveTo(x, y);
        octx.lineTo(u, v);
        octx.stroke();
        octx.strokeRect(u - r, v - r, 2 * r, 2 * r);
      }
    }
  if (previewXY) {
    octx.strokeStyle = "#e8a33d";
    octx.lineWidth = 2 * dpr;
    octx.beginPath();
    for (const [px, py] of previewXY) {
      const x = at(px) + ox,
        y = at(py) + oy,
        r = 9 * dpr;
      octx.rect(x - r, y - r, 2 * r, 2 * r);
    }
    octx.stroke();
  }
}
function follow() {
  for (let i = 0; i < parts.count; i++) {
    const n = parts.n[4 * i + 3];
    let t = trails.get(n);
    if (!t) trails.set(n, (t = { p: [], seen: 0 }));
    t.p.push([parts.f[4 * i], parts.f[4 * i + 1]]);
    t.seen = head.place;
    if (t.p.length > 40) t.p.shift();
  }
  for (const [n, t] of trails) if (head.place - t.seen > 60) trails.delete(n);
}
function fitZoom() {
  const w = hello ? hello.width : 1024,
    h = hello ? hello.height : 1024;
  return Math.min($("view").clientWidth / w, $("view").clientHeight / h) || 1;
}
function fit() {
  fitted = true;
  zoom = fitZoom();
  const w = hello ? hello.width : 1,
    h = hello ? hello.height : 1;
  panX = ($("view").clientWidth - w * zoom) / 2;
  panY = ($("view").clientHeight - h * zoom) / 2;
  place();
}
function place() {
  if (head) image.style.transform = `translate(${panX}px,${panY}px) scale(${zoom * head.step})`;
  scaleBar();
  drawOver();
}
// The longest of 1, 2, 5, 10, 20, ... that is not above `most`.
function roundLength(most) {
  const v = 10 ** Math.floor(Math.log10(most));
  return v * ([5, 2].find((m) => v * m <= most) || 1);
}
function scaleBar() {
  const bar = $("bar");
  if (!hello) return;
  const um = hello.pixel_um,
    unit = um || 1,
    most = (130 / zoom) * unit;
  const v = roundLength(most);
  bar.hidden = false;
  bar.style.width = (v / unit) * zoom + "px";
  bar.textContent = +v.toPrecision(2) + (um ? " µm" : " px");
}
function zoomAt(x, y, by) {
  const old = zoom;
  zoom = Math.max(fitZoom() * 0.5, Math.min(40, zoom * by));
  panX = x - ((x - panX) * zoom) / old;
  panY = y - ((y - panY) * zoom) / old;
  fitted = false;
  place();
  clearTimeout(zoomAt.t);
  zoomAt.t = setTimeout(want, 200);
}
const view = $("view"),
  fingers = new Map();
view.addEventListener(
  "wheel",
  (e) => {
    e.preventDefault();
    const b = view.getBoundingClientRect();
    zoomAt(e.clientX - b.left, e.clientY - b.top, Math.exp(-e.deltaY * 0.0015));
  },
  { passive: false },
);
view.onpointerdown = (e) => {
  if (grab(e)) return;
  fingers.set(e.pointerId, [e.clientX, e.clientY]);
  view.setPointerCapture(e.pointerId);
};
view.onpointerup = (e) => {
  drop(e);
  fingers.delete(e.pointerId);
};
view.onpointercancel = (e) => {
  held = null;
  fingers.delete(e.pointerId);
};
view.onpointermove = (e) => {
  const b = view.getBoundingClientRect(),
    x = Math.round((e.clientX - b.left - panX) / zoom - 0.5),
    y = Math.round((e.clientY - b.top - panY) / zoom - 0.5);
  if (head) under(x, y);
  if (held) {
    held.to = spot(e);
    drawOver();
    return;
  }
  const old = fingers.get(e.pointerId);
  if (!old) return;
  if (fingers.size === 1) {
    panX += e.clientX - old[0];
    panY += e.clientY - old[1];
    fitted = false;
    place();
  } else {
    const other = [...fingers].find(([id]) => id !== e.pointerId)[1],
      d = (a, c) => Math.hypot(a[0] - c[0], a[1] - c[1]);
    zoomAt(
      (e.clientX + other[0]) / 2 - b.left,
      (e.clientY + other[1]) / 2 - b.top,
      d([e.clientX, e.clientY], other) / Math.max(1, d(old, other)),
    );
  }
  fingers.set(e.pointerId, [e.clientX, e.clientY]);
};
function under(x, y) {
  if (x < 0 || y < 0 || x >= head.width || y >= head.height) {
    $("under").textContent = "";
    return;
  }
  const um = hello && hello.pixel_um;
  $("under").textContent = `x ${x}  y ${y} px` + (um ? `   ${(x * um).toFixed(2)}, ${(y * um).toFixed(2)} µm` : "");
}
function warn() {
  const s = $("state").dataset.s,
    w = [];
  if (hello && hello.simulated) w.push("SIMULATED");
  if (frozen) w.push("FROZEN");
  else if (s === "stale") w.push(head ? "STALE: no new frame" : "NO FRAME YET");
  else if (s === "lost") w.push("STALE: no connection");
  else if (s === "ended") w.push("STALE: the run has ended");
  $("warn").textContent = w.join("  ·  ");
}
setInterval(() => {
  const now = performance.now();
  while (shown.length && shown[0] < now - 2000) shown.shift();
  $("f-shown").textContent = (shown.length / 2).toFixed(0);
  if (ages.length)
    $("f-age").textContent = ages
      .slice()
      .sort((a, b) => a - b)
      [ages.length >> 1].toFixed(0);
  if ($("state").dataset.s === "live" && !frozen && now - lastPicture > 1000) {
    state("stale", "stale");
    warn();
  } else if ($("state").dataset.s === "connecting" && socket.readyState === 1 && now - opened > 3000) {
    state("stale", "no frame yet");
    warn();
  }
  traffic();
}, 250);
